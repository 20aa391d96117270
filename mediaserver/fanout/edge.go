package fanout

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// Edge.want has, beside the reasons, cut, which tells that the edge was out of the
// snapshots since state followed last, and the wanted layer.
const (
	cut        = 1 << 8
	layerShift = 16
)

func wantedLayer(want uint32) media.Layer { return media.Layer(want >> layerShift) }

// Edge is one receiver of a track. Its methods may be called from any goroutine,
// though not from within its sink.
type Edge struct {
	track *Track
	sink  Sink

	// What Apply and Choose want, ahead of state: forwarding.Reasons, cut and the layer.
	// State follows at the fence, or when a walk comes first.
	want   atomic.Uint32
	chosen media.Layer // as its receiver has it; guarded by Track.change, as off
	off    bool        // the track

	written atomic.Uint32 // 1<<16 | the highest sequence number written; 0: none
	present atomic.Uint32 // 1 + the layer that was forwarded last; 0: none was

	mu        sync.Mutex // guards all that follows
	state     forwarding.Edge
	history   forwarding.History
	pictures  codecs.Shift      // of picture ids since the last start
	seen      codecs.PictureIDs // of what was forwarded before a cut or a change of layer, as the receiver has them
	outgoing  media.Outgoing    // the packet that is being written
	since     uint64            // bursts up to this one are not for the edge,
	another   uint64            // and up to this one not those of another layer than the present one
	requested bool              // the receiver asked for a keyframe that has not come yet
	wish      wish              // for a keyframe
	keyframe  uint64            // the newest keyframe's start that was written: the extended number that it left under
	removed   bool
	highest   uint32 // written, ahead of it

	// For sender reports, so without what was sent again; they wrap, as RFC 3550
	// section 6.4.1 has it.
	packets, octets uint32
	reported        bool // some report was written
	resends         resends
}

// follow makes state what Apply and Choose want. Call with mu held.
//
// Afterwards the edge gets only bursts that are taken in from now on, of the wanted
// layer or, if it was cut, of any. One under way might come from before the change,
// while one behind it was walked without the edge: the edge would start with the one
// and never learn of the other's loss, or of the new run of the sender in it.
func (e *Edge) follow() {
	want := e.want.And(^uint32(cut))
	reasons, layer, now := forwarding.Reasons(want), wantedLayer(want), e.track.taken.Load()
	if want&cut != 0 {
		e.remember()
		e.state.Restart()
		e.history.Cut()
		e.requested = false
		e.wish.over()
	}
	if want&cut != 0 || reasons != e.state.Withheld() {
		e.since = now
	}
	if layer != e.state.Wanted() {
		e.another = now
	}
	e.state.Release(^reasons)
	e.state.Withhold(reasons)
	e.state.Want(layer)
}

// lock takes mu, and follows if that is due: whoever looks at state sees at least
// what Apply and Choose wanted before.
func (e *Edge) lock() {
	e.mu.Lock()
	if e.want.Load() != uint32(e.state.Withheld())|uint32(e.state.Wanted())<<layerShift {
		e.follow()
	}
}

// receive sends what of the burst is for this receiver. It tells whether the edge
// waits for a keyframe of the burst's layer after that.
func (e *Edge) receive(batch *udp.Batch, b *burst, counts *tally) (waiting bool) {
	next := 0
	for {
		batch.Room(len(b.arrivals) - next)
		e.lock()
		e.outgoing.SendTime = b.sendTime
		after, started := e.walk(batch, b, next, counts)
		waiting = e.needsKeyframe() && e.state.Wanted() == b.layer
		reported := e.reported
		e.mu.Unlock()
		if !started {
			return waiting
		}
		if !reported {
			e.introduce(batch)
		}
		e.replay(batch, &b.arrivals[after-1], counts)
		next = after
	}
}

// walk goes through the burst from the arrival next on, as far as the one with
// which the edge (re)starts, because what had overtaken that one follows it first.
// It returns the arrival to go on with. Call with mu held.
func (e *Edge) walk(batch *udp.Batch, b *burst, next int, counts *tally) (after int, started bool) {
	if e.removed || b.number <= e.since || b.number <= e.another && e.present.Load() != 1+uint32(b.layer) {
		counts.withheld += uint64(len(b.arrivals) - next)

		return len(b.arrivals), false
	}
	for ; next < len(b.arrivals) && !started; next++ {
		started = e.forward(batch, &b.arrivals[next], counts)
	}
	if started {
		e.begin(b)
	}
	e.publish()

	return next, started
}

// begin publishes which layer is forwarded. Where it is another than before, the snapshots
// still have the edge for that one. Call with mu held.
func (e *Edge) begin(b *burst) {
	layer := 1 + uint32(b.layer)
	if before := e.present.Swap(layer); before != 0 && before != layer {
		b.switched.Store(true)
	}
}

// forward decides upon one packet and writes it if that is the decision.
func (e *Edge) forward(batch *udp.Batch, a *arrival, counts *tally) (started bool) {
	d := e.state.Decide(&a.packet)
	switch d.Action {
	case forwarding.Forward:
		if !e.write(batch, a, d.Header, e.pictures, counts) {
			return false
		}
	case forwarding.Start:
		pictures := e.picturesFrom(&a.packet)
		if !e.write(batch, a, d.Header, pictures, counts) {
			return false
		}
		e.start(&a.packet, d, pictures)
	case forwarding.Hold:
		counts.held++

		fallthrough
	default:
		if d.Cut {
			e.remember()
			e.state.Restart()
		}
		counts.drop(d.Cause)

		return false
	}
	e.state.Forwarded(&a.packet, d)
	if a.packet.KeyframeStart {
		e.requested, e.keyframe = false, max(e.keyframe, d.SequenceNumber)
		if !e.state.NeedsKeyframe() {
			e.wish.over()
		}
	}
	e.count(uint16(d.SequenceNumber), len(a.payload))
	counts.forwarded++

	return d.Action == forwarding.Start
}

// write hands a packet to the sink. What that refuses, the other receivers get all the same,
// and the edge stays where it was, so that decisions measure from what was written, as SRTP
// does.
func (e *Edge) write(
	batch *udp.Batch, a *arrival, header forwarding.Header, pictures codecs.Shift, counts *tally,
) bool {
	a.fill(&e.outgoing, header, pictures)
	if e.sink.WriteRTP(batch, &e.outgoing) != nil {
		counts.sinkErrors++

		return false
	}

	return true
}

// start notes a start that is written, while state is still what it was before. A start on
// the present layer follows a cut, whether Decide or Apply made it. Call with mu held.
func (e *Edge) start(p *forwarding.Packet, d forwarding.Decision, pictures codecs.Shift) {
	if layer, flows := e.state.Layer(); !flows || layer == p.Layer {
		e.history.Cut()
	}
	before, _ := e.state.LastSequenceNumber()
	e.history.Start(forwarding.Beginning{Packet: *p, Header: d.Header, Pictures: pictures, Before: before})
	e.pictures = pictures
}

// picturesFrom is the shift of picture ids from a start on. Each layer, and each new run of
// its numbers, has its own count of them, and the receiver sees one; what it did not see of
// a run it does not miss. Call with mu held.
func (e *Edge) picturesFrom(p *forwarding.Packet) codecs.Shift {
	layer, last, sent := e.state.Last()
	if !sent || layer == p.Layer && p.SequenceNumber < last+numbers.Apart/2 {
		return e.pictures
	}
	if _, flows := e.state.Layer(); flows {
		e.remember()
	}

	return p.PictureIDs.To(e.seen)
}

// remember notes which picture ids the receiver has seen last, as long as the packet is in
// the store. Padding has none. Call with mu held.
func (e *Edge) remember() {
	layer, number, sent := e.state.Last()
	if !sent {
		return
	}
	t := e.track
	t.in.Lock()
	defer t.in.Unlock()
	for n := number; n > number-storeSize; n-- {
		if p := t.layers[layer].store.get(n); p != nil && !p.packet.Empty {
			e.seen = p.packet.PictureIDs.Shifted(e.pictures)

			return
		}
	}
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

// wishToStart follows what Apply and Choose want, and tells whether the edge now waits for a
// keyframe, and from when on the sender may be asked for it.
func (e *Edge) wishToStart(now time.Time) (from time.Time, wanted bool) {
	e.lock()
	defer e.mu.Unlock()
	if e.removed || !e.needsKeyframe() {
		return time.Time{}, false
	}
	e.wish.toStart(now)

	return e.wish.from, true
}

// needsKeyframe: call with mu held.
func (e *Edge) needsKeyframe() bool {
	return e.requested || e.state.NeedsKeyframe()
}

// askKeyframe asks the sender for a keyframe of the wanted layer.
func (e *Edge) askKeyframe(from time.Time, start bool) {
	if k := e.track.keyframes; k != nil {
		k.ask(media.LayersOf(wantedLayer(e.want.Load())), from, start)
	}
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

	return e.state.Withheld(), e.state.Awaits()
}

// Layer is the one that is forwarded; false while none is.
func (e *Edge) Layer() (media.Layer, bool) {
	e.lock()
	defer e.mu.Unlock()

	return e.state.Layer()
}

// SSRC is the sink's SSRC, 0 before it is negotiated.
func (e *Edge) SSRC() uint32 { return e.sink.SSRC() }
