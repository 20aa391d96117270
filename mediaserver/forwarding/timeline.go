package forwarding

import (
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// maxSkew is by how much reports may move a layer from where its arrival placed it.
// Layers of one picture are sent at the same time, so reports that say more are wrong.
const maxSkew = 5 * time.Second

// Report is what a sender report says of the sender's clocks (RFC 3550 section 6.4.1):
// RTPTime, on the timeline of its SSRC, was NTPTime, in the 64-bit format.
type Report struct {
	NTPTime uint64
	RTPTime uint32
}

// Timeline brings the timestamps of one sender's layers, and of all SSRCs that a layer
// has one after another, onto one timeline. A receiver sees one SSRC, and timestamps
// belong to one (RFC 3550 section 5.1).
//
// The first packet that comes sets the timeline. What begins later, a layer or a new
// SSRC, is placed by when it arrives, for it must not wait; that guess costs no lip
// sync, since sender reports are moved as the packets are. Once two layers have been
// reported, their reports say how far they are apart.
//
// Unlike the other types of this package it changes in place.
type Timeline struct {
	clockRate uint32
	started   bool
	latest    uint32 // the highest timestamp so far, on this timeline
	layers    [media.MaxLayers]placed
	anchor    media.Layer // the layer whose reports, if it has any, the others are placed by
}

// placed is one layer on the timeline.
type placed struct {
	started  bool
	ssrc     uint32
	offset   uint32 // added to the timestamps of ssrc
	guess    uint32 // the offset by arrival
	reported bool   // of ssrc
	report   Report
}

// NewTimeline makes a timeline that nothing is on yet.
func NewTimeline(kind media.Kind) Timeline { return Timeline{clockRate: kind.ClockRate()} }

// Receive places a packet: its timestamp and the offset, which it returns, make the time
// on this timeline. sinceLast is the time since the packet before, of whatever layer.
func (t *Timeline) Receive(layer media.Layer, ssrc, timestamp uint32, sinceLast time.Duration) (offset uint32) {
	p := &t.layers[layer]
	if !p.started || p.ssrc != ssrc {
		*p = placed{started: true, ssrc: ssrc}
		if t.started {
			p.guess = t.latest + t.ticks(sinceLast) - timestamp
		}
		p.offset = p.guess
	}
	if at := timestamp + p.offset; !t.started || int32(at-t.latest) > 0 {
		t.started, t.latest = true, at
	}

	return p.offset
}

// Report takes in a layer's sender report, from which on packets of layers may be placed
// otherwise. It returns false when nothing has come of the layer yet.
func (t *Timeline) Report(layer media.Layer, report Report) bool {
	p := &t.layers[layer]
	if !p.started {
		return false
	}
	p.report, p.reported = report, true
	if !t.layers[t.anchor].reported {
		t.anchor = layer
	}
	for i := range t.layers {
		t.place(media.Layer(i))
	}

	return true
}

// place moves a layer to where its report and the anchor's say that it belongs.
func (t *Timeline) place(layer media.Layer) {
	p, anchor := &t.layers[layer], &t.layers[t.anchor]
	if layer == t.anchor || !p.reported {
		return
	}
	// Seconds with 32 bits behind the point; the difference is small.
	apart := int64(p.report.NTPTime-anchor.report.NTPTime) * int64(t.clockRate) >> 32
	offset := anchor.report.RTPTime + anchor.offset + uint32(apart) - p.report.RTPTime
	if moved := int64(int32(offset - p.guess)); max(moved, -moved) <= int64(t.clockRate)*int64(maxSkew/time.Second) {
		p.offset = offset
	}
}

// Offset is what brings timestamps of a layer's present SSRC onto this timeline.
func (t *Timeline) Offset(layer media.Layer) uint32 { return t.layers[layer].offset }

// ticks is at least one, since two frames never share a timestamp.
func (t *Timeline) ticks(d time.Duration) uint32 {
	return max(1, uint32(int64(t.clockRate)*int64(d/time.Microsecond)/1_000_000))
}
