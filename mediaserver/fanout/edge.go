package fanout

import (
	"sync/atomic"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
)

// maxResends is how often one packet is sent again to one receiver. A receiver
// that lost it more often needs a keyframe, not more of our bandwidth.
const maxResends = 3

// Edge is one receiver of a track. Its methods may be called from any goroutine,
// though not from within its sink.
type Edge struct {
	track *Track
	sink  Sink

	// What Apply wants, ahead of state: state follows at the fence, or when a walk
	// comes first.
	reasons atomic.Uint32
	cut     atomic.Bool // the edge left the snapshot since state followed last

	written atomic.Uint32 // 1<<16 | the highest sequence number written; 0: none

	// Guarded by track.walk.
	state           forwarding.Edge
	requested       bool // the receiver asked for a keyframe that has not come yet
	removed         bool
	packets, octets uint32 // for sender reports; they wrap, as RFC 3550 section 6.4.1 has it
	resends         [storeSize]uint8
}

// follow makes state what Apply wants. Call with walk held.
func (e *Edge) follow() {
	if e.cut.Swap(false) {
		// However briefly the edge was out of the snapshot, it may have missed packets,
		// or even that the sender began a new run.
		e.state = e.state.Restart()
		e.requested = false
	}
	reasons := forwarding.Reasons(e.reasons.Load())
	e.state = e.state.Release(^reasons).Withhold(reasons)
}

// forward sends what of the burst is for this receiver. Call with walk held.
func (e *Edge) forward(burst []arrival, counts *tally) {
	if e.cut.Load() {
		e.follow()
	}
	for i := range burst {
		a := &burst[i]
		if a.restarted {
			e.state = e.state.Restart()
		}
		if e.offer(a.packet, a.payload, counts) {
			e.replay(a, counts)
		}
		if a.packet.KeyframeStart && !e.state.AwaitsKeyframe() {
			e.requested = false
		}
	}
}

// offer decides upon one packet and sends it if that is the decision.
func (e *Edge) offer(p forwarding.Packet, payload []byte, counts *tally) (started bool) {
	state, decision := e.state.Decide(p)
	e.state = state
	switch {
	case decision.Action == forwarding.Hold:
		counts.held++
		return false
	case decision.Cause == forwarding.Withheld:
		counts.withheld++
		return false
	case decision.Action == forwarding.Drop:
		counts.beforeStart++
		return false
	}
	e.resends[decision.SequenceNumber%storeSize] = 0
	if e.write(decision.SequenceNumber, decision.Timestamp, decision.Marker, payload) {
		counts.forwarded++
	} else {
		counts.sinkErrors++
	}
	return decision.Started
}

// replay sends the packets that overtook the one that the edge started with.
func (e *Edge) replay(start *arrival, counts *tally) {
	s := &e.track.store
	for n := start.packet.SequenceNumber + 1; n < start.packet.SequenceNumber+storeSize; n++ {
		if p := s.get(n); p != nil && p.arrival < start.number {
			e.offer(p.packet, p.payload, counts)
			counts.replayed++
		}
	}
}

func (e *Edge) write(sequenceNumber uint16, timestamp uint32, marker bool, payload []byte) bool {
	if err := e.sink.WriteRTP(sequenceNumber, timestamp, marker, payload); err != nil {
		return false // counted; the other receivers get theirs
	}
	e.packets++
	e.octets += uint32(len(payload))
	last := e.written.Load()
	if last == 0 || int16(sequenceNumber-uint16(last)) > 0 {
		e.written.Store(1<<16 | uint32(sequenceNumber))
	}
	return true
}

// ReceiveNACK sends again what the receiver misses (RFC 4585 section 6.2.1), as far
// as it was sent since the last cut and is not too old.
func (e *Edge) ReceiveNACK(sequenceNumbers []uint16) {
	t := e.track
	t.walk.Lock()
	defer t.walk.Unlock()
	if e.cut.Load() {
		e.follow()
	}
	for _, n := range sequenceNumbers {
		if !e.removed && e.resend(n) {
			t.counters.NACKAnswered.Add(1)
		} else {
			t.counters.NACKIgnored.Add(1)
		}
	}
}

func (e *Edge) resend(sequenceNumber uint16) bool {
	incoming, ok := e.state.Source(sequenceNumber)
	if !ok {
		return false
	}
	p := e.track.store.get(incoming)
	resends := &e.resends[sequenceNumber%storeSize]
	if p == nil || *resends == maxResends {
		return false
	}
	*resends++
	if !e.write(sequenceNumber, p.packet.Timestamp, p.packet.Marker, p.payload) {
		e.track.counters.SinkErrors.Add(1)
		return false
	}
	return true
}

// ReceivePLI asks the sender for a keyframe on the receiver's behalf. While the
// stream is withheld the wish is ignored: it must not cost the sender's other
// receivers a keyframe, and the end of the pause asks for one anyway.
func (e *Edge) ReceivePLI() {
	t := e.track
	t.walk.Lock()
	ignored := e.removed || e.reasons.Load() != 0
	if !ignored {
		e.requested = true
	}
	t.walk.Unlock()
	if ignored {
		t.counters.PLIIgnored.Add(1)
		return
	}
	t.askKeyframe()
}

// wantsKeyframe: call with walk held.
func (e *Edge) wantsKeyframe() bool {
	return e.requested || e.state.AwaitsKeyframe()
}

// Remove takes the edge off its track. When it returns, nothing is written to the
// sink any more. Removing it again does nothing.
func (e *Edge) Remove() {
	t := e.track
	t.change.Lock()
	all := make([]*Edge, 0, len(*t.all.Load()))
	for _, other := range *t.all.Load() {
		if other != e {
			all = append(all, other)
		}
	}
	t.all.Store(&all)
	t.refresh()
	t.change.Unlock()
	t.walk.Lock() // the fence: whoever walks the old snapshot has it
	e.removed = true
	t.walk.Unlock()
}

// LastSequenceNumber is the highest sequence number that was written to the sink,
// so none beyond it has left; false when nothing was written.
func (e *Edge) LastSequenceNumber() (uint16, bool) {
	last := e.written.Load()
	return uint16(last), last != 0
}

// SSRC is the sink's SSRC, 0 before it is negotiated.
func (e *Edge) SSRC() uint32 { return e.sink.SSRC() }
