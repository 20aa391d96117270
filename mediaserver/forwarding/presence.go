package forwarding

import (
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

const (
	// silence is how long nothing may come of a layer, while absentFrames frames come of
	// another one, until it counts as gone. Senders stop a layer for want of bandwidth or
	// time, and do not say so. Where all are silent the sender is muted.
	silence      = 500 * time.Millisecond
	absentFrames = 5
	// steady is for how long a layer that was gone has to come until it counts again: one
	// that comes and goes would make its receivers change over each time.
	steady = time.Second
)

// Presence tells which of a sender's layers there are, by what comes of them. A layer
// counts with its first packet. The zero Presence has heard of none. It changes in place.
type Presence struct {
	layers [media.MaxLayers]heard
	there  media.Layers
	last   time.Time // packet of any
}

// heard is what came of one layer.
type heard struct {
	ever   bool
	first  time.Time              // since it was silent last
	last   time.Time              // packet
	alone  time.Time              // since when others come without it; zero: none has yet
	others [media.MaxLayers]uint8 // frames of each other layer since then
}

// Receive takes in a packet, and tells whether the layers there are have changed. Padding
// alone shows nobody a picture, so it is no sign of a layer.
func (p *Presence) Receive(packet *Packet, now time.Time) (changed bool) {
	if packet.Empty {
		return false
	}
	before, layer, gap := p.there, packet.Layer, now.Sub(p.last)
	p.last = now
	h := &p.layers[layer]
	if !h.ever || p.there.Has(layer) {
		p.there |= media.LayersOf(layer)
	} else if now.Sub(h.last) >= silence {
		h.first = now
	}
	if !p.there.Has(layer) && now.Sub(h.first) >= steady {
		p.there |= media.LayersOf(layer)
	}
	h.ever, h.last, h.alone, h.others = true, now, time.Time{}, [media.MaxLayers]uint8{}
	for other := range p.layers {
		if media.Layer(other) != layer && p.there.Has(media.Layer(other)) {
			p.miss(media.Layer(other), packet, now, gap >= silence)
		}
	}
	if p.there == 0 { // The last one is gone, and this one, however lately it returned, is what is left.
		p.there = media.LayersOf(layer)
	}

	return p.there != before
}

// miss notes what came of another layer while nothing came of this one; muted: nothing came of
// any just before. That time does not count, once: what comes again comes in one layer after the
// other, while one that has few frames is silent between any two of them.
func (p *Presence) miss(layer media.Layer, other *Packet, now time.Time, muted bool) {
	h := &p.layers[layer]
	if h.alone.IsZero() {
		h.alone = h.last
	}
	if muted && !h.alone.After(h.last) {
		h.alone, h.others = now, [media.MaxLayers]uint8{}
	}
	if other.Marker && h.others[other.Layer] < absentFrames {
		h.others[other.Layer]++
	}
	if h.others[other.Layer] >= absentFrames && now.Sub(h.alone) >= silence {
		p.there &^= media.LayersOf(layer)
		h.first = now
	}
}

// There is the layers that come.
func (p *Presence) There() media.Layers { return p.there }
