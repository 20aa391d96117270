package fanout

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// cut, in Edge.want beside the reasons, tells that the edge was out of the snapshot
// since state followed last.
const cut = 1 << 8

// Edge is one receiver of a track. Its methods may be called from any goroutine,
// though not from within its sink.
type Edge struct {
	track *Track
	sink  Sink

	// What Apply wants, ahead of state: forwarding.Reasons, and cut. State follows at
	// the fence, or when a walk comes first.
	want atomic.Uint32
	off  bool // the track: guarded by Track.change

	written atomic.Uint32 // 1<<16 | the highest sequence number written; 0: none

	mu        sync.Mutex // guards all that follows
	state     forwarding.Edge
	since     uint64 // bursts up to this one are not for the edge
	requested bool   // the receiver asked for a keyframe that has not come yet
	wish      wish   // for a keyframe
	keyframe  uint64 // the sender's number of the newest keyframe's start that was written
	removed   bool
	highest   uint32 // written, ahead of it

	// For sender reports, so without what was sent again; they wrap, as RFC 3550
	// section 6.4.1 has it.
	packets, octets uint32
	reported        bool // some report was written
	resends         resends
}

// follow makes state what Apply wants. Call with mu held.
//
// Afterwards the edge gets only bursts that are taken in from now on. One under way
// might come from before the cut, while one behind it was walked without the edge:
// the edge would start with the one and never learn of the other's loss, or of the
// new run of the sender in it.
func (e *Edge) follow() {
	want := e.want.And(^uint32(cut))
	if want&cut != 0 {
		e.state = e.state.Restart()
		e.requested = false
		e.wish.over()
	}
	reasons := forwarding.Reasons(want)
	e.state = e.state.Release(^reasons).Withhold(reasons)
	e.since = e.track.taken.Load()
}

// lock takes mu, and follows if that is due: whoever looks at state sees at least
// what Apply wanted before.
func (e *Edge) lock() {
	e.mu.Lock()
	if e.want.Load() != uint32(e.state.Withheld()) {
		e.follow()
	}
}

// receive sends what of the burst is for this receiver. It tells whether the edge
// waits for a keyframe after that.
func (e *Edge) receive(batch *udp.Batch, b *burst, counts *tally) (wantsKeyframe bool) {
	next := 0
	for {
		batch.Room(len(b.arrivals) - next)
		e.lock()
		after, started := e.forward(batch, b, next, counts)
		wantsKeyframe = e.wantsKeyframe()
		reported := e.reported
		e.mu.Unlock()
		if !started {
			return wantsKeyframe
		}
		if !reported {
			e.introduce(batch)
		}
		e.replay(batch, &b.arrivals[after-1], counts)
		next = after
	}
}

// forward goes through the burst from the arrival next on, as far as the one with
// which the edge (re)starts, because what had overtaken that one follows it first.
// It returns the arrival to go on with. Call with mu held.
func (e *Edge) forward(batch *udp.Batch, b *burst, next int, counts *tally) (after int, started bool) {
	if e.removed || b.number <= e.since {
		counts.withheld += uint64(len(b.arrivals) - next)
		return len(b.arrivals), false
	}
	for ; next < len(b.arrivals) && !started; next++ {
		started = e.offer(batch, &b.arrivals[next], counts)
	}
	e.publish()
	return next, started
}

// offer decides upon one packet and writes it if that is the decision.
func (e *Edge) offer(batch *udp.Batch, a *arrival, counts *tally) (started bool) {
	state, decision := e.state.Decide(a.packet)
	switch {
	case decision.Action == forwarding.Hold:
		e.state = state
		counts.held++
		return false
	case decision.Cause == forwarding.Withheld:
		counts.withheld++
		return false
	case decision.Action == forwarding.Drop:
		counts.beforeStart++
		return false
	}
	err := e.sink.WriteRTP(batch, decision.SequenceNumber, decision.Timestamp, decision.Marker, a.payload, a.padding)
	if err != nil {
		// The other receivers get theirs. The edge stays where it was, so that Decide measures
		// from what was written, as SRTP does.
		counts.sinkErrors++
		return false
	}
	e.state = state
	if a.packet.KeyframeStart {
		e.requested, e.keyframe = false, max(e.keyframe, a.packet.SequenceNumber)
		e.wish.over()
	}
	e.count(decision.SequenceNumber, len(a.payload))
	counts.forwarded++
	return decision.Started
}

// count takes note of a packet that was written.
func (e *Edge) count(sequenceNumber uint16, octets int) {
	e.packets++
	e.octets += uint32(octets)
	if e.highest == 0 || int16(sequenceNumber-uint16(e.highest)) > 0 {
		e.highest = 1<<16 | uint32(sequenceNumber)
	}
}

// publish shows what was written to those who do not hold mu, who hold it now.
func (e *Edge) publish() {
	if e.written.Load() != e.highest {
		e.written.Store(e.highest)
	}
}

// start follows what Apply wants, and tells whether the edge now waits for a keyframe,
// and from when on the sender may be asked for it.
func (e *Edge) start(now time.Time) (from time.Time, wanted bool) {
	e.lock()
	defer e.mu.Unlock()
	if e.removed || !e.wantsKeyframe() {
		return time.Time{}, false
	}
	e.wish.toStart(now)
	return e.wish.from, true
}

// wantsKeyframe: call with mu held.
func (e *Edge) wantsKeyframe() bool {
	return e.requested || e.state.AwaitsKeyframe()
}

// LastSequenceNumber is the highest sequence number that was written to the sink,
// so none beyond it has left; false when nothing was written.
func (e *Edge) LastSequenceNumber() (uint16, bool) {
	last := e.written.Load()
	return uint16(last), last != 0
}

// Withheld tells why nothing is forwarded now: the reasons, or, without any, that
// video goes on with the next keyframe.
func (e *Edge) Withheld() (reasons forwarding.Reasons, awaitsKeyframe bool) {
	e.lock()
	defer e.mu.Unlock()
	return e.state.Withheld(), e.state.AwaitsKeyframe()
}

// SSRC is the sink's SSRC, 0 before it is negotiated.
func (e *Edge) SSRC() uint32 { return e.sink.SSRC() }
