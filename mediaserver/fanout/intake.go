package fanout

import (
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/bandwidth"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
)

// layer is one of the encodings that the sender sends. It is guarded by Track.in.
type layer struct {
	store   store
	highest uint64 // number; 0: nothing came yet
	ssrc    uint32
	report  forwarding.Report // the last of the SSRC
	known   bool              // report is
	meter   bandwidth.Meter
}

// takeIn stores packets of one layer and collects what is to be forwarded.
func (t *Track) takeIn(packets []media.Received) *burst {
	now := time.Now()
	t.in.Lock()
	defer t.in.Unlock()
	b := t.fetch()
	b.number, b.layer, b.sendTime = t.taken.Add(1), packets[0].Layer, media.SendTime(now)
	l, octets := &t.layers[b.layer], 0
	for i := range packets {
		p := &packets[i]
		restarted := l.restarts(p)
		said := t.config.Inspect(p.Payload)
		facts := forwarding.Packet{
			SequenceNumber: p.SequenceNumber, Timestamp: p.Timestamp, Layer: b.layer, Marker: p.Marker,
			Offset: t.timeline.Receive(b.layer, l.ssrc, p.Timestamp, now.Sub(t.arrived)),
			Empty:  len(p.Payload) == 0, PictureIDs: said.PictureIDs,
			KeyframeStart: said.KeyframeStart && (t.config.Kind == media.Video || p.SequenceNumber > l.highest),
		}
		t.arrived = now
		l.highest = max(l.highest, p.SequenceNumber)
		number, fresh := l.store.add(facts, p.Payload)
		if !fresh {
			t.counters.Duplicates.Add(1)

			continue
		}
		b.layers = t.presence.Receive(&facts, now) || b.layers
		octets += len(p.Payload)
		if restarted {
			b.restarted = true
			t.counters.SourceRestarts.Add(1)
		}
		b.keyframe = b.keyframe || facts.KeyframeStart
		b.arrivals = append(b.arrivals, arrival{packet: facts, number: number, restarted: restarted, payload: p.Payload})
	}
	l.meter.Add(octets, now)
	if !t.config.NoPadding {
		l.pad(b.arrivals, t.counters)
	}

	return b
}

// restarts notes whether the sender begins a new run of numbers with the packet. Late
// packets of the run before keep what is known of this one's SSRC.
func (l *layer) restarts(p *media.Received) bool {
	first := l.highest == 0
	if !first && p.SequenceNumber < l.highest+numbers.Apart/2 {
		return false
	}
	l.ssrc, l.known = p.SSRC, false // The new run may be on another clock.

	return !first
}

// pad makes the sizes of each frame's packets equal, here and in the store: a packet
// that is sent again must be the same byte for byte. Where the second
// transmission is under the first one's SRTP index, the same key and nonce
// encrypt it, and AES-GCM that encrypts two different texts under one nonce gives
// away their difference and the key that authenticates the whole session
// (RFC 7714 section 8.1 and RFC 5116 section 5.1.1). Call with in held.
func (l *layer) pad(arrivals []arrival, counters *Counters) {
	padded := equalize(arrivals)
	if padded == 0 {
		return
	}
	counters.Padded.Add(uint64(padded))
	for i := range arrivals {
		if a := &arrivals[i]; a.padding != 0 {
			// A later packet of the burst may have its place already.
			if s := l.store.get(a.packet.SequenceNumber); s != nil {
				s.padding = a.padding
			}
		}
	}
}
