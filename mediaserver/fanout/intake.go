package fanout

import (
	"time"

	"github.com/pion/rtp"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
)

// takeIn stores the packets and collects what is to be forwarded.
func (t *Track) takeIn(packets []rtp.Packet) *burst {
	now := time.Now()
	t.in.Lock()
	defer t.in.Unlock()
	b := t.fetch()
	b.number = t.taken.Add(1)
	for i := range packets {
		p := &packets[i]
		source, a, ok := t.source.Receive(p.SSRC, p.SequenceNumber, p.Timestamp, now.Sub(t.arrived))
		t.source = source
		if !ok {
			t.counters.OutOfRun.Add(1)
			continue
		}
		// Not by packets that are refused, or the time before the first packet of a new
		// run, which comes twice, would be lost from the timeline.
		t.arrived = now
		if a.Restarted {
			b.restarted = true
			t.clock = clock{} // the new run may be on another
			t.counters.SourceRestarts.Add(1)
		}
		facts := forwarding.Packet{
			SequenceNumber: a.SequenceNumber, Timestamp: a.Timestamp, Marker: p.Marker,
			Empty: len(p.Payload) == 0, KeyframeStart: t.keyframeStart(p.Payload, a.Newest),
		}
		number, fresh := t.store.add(facts, p.Payload)
		if !fresh {
			t.counters.Duplicates.Add(1)
			continue
		}
		b.keyframe = b.keyframe || facts.KeyframeStart
		b.arrivals = append(b.arrivals, arrival{packet: facts, number: number, restarted: a.Restarted, payload: p.Payload})
	}
	if !t.config.NoPadding {
		t.pad(b.arrivals)
	}
	return b
}

func (t *Track) keyframeStart(payload []byte, newest bool) bool {
	if t.config.KeyframeStart == nil {
		return newest && len(payload) > 0
	}
	return t.config.KeyframeStart(payload)
}

// pad makes the sizes of each frame's packets equal, here and in the store: a packet
// that is sent again must be the same byte for byte. Where the second
// transmission is under the first one's SRTP index, the same key and nonce
// encrypt it, and AES-GCM that encrypts two different texts under one nonce gives
// away their difference and the key that authenticates the whole session
// (RFC 7714 section 8.1 and RFC 5116 section 5.1.1). Call with in held.
func (t *Track) pad(arrivals []arrival) {
	padded := equalize(arrivals)
	if padded == 0 {
		return
	}
	t.counters.Padded.Add(uint64(padded))
	for i := range arrivals {
		if a := &arrivals[i]; a.padding != 0 {
			// A later packet of the burst may have its place already.
			if s := t.store.get(a.packet.SequenceNumber); s != nil {
				s.padding = a.padding
			}
		}
	}
}
