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

// Projection.want has, beside the reasons, cut, which tells that the projection was out
// of the snapshots since state followed last, and the wanted layer.
const (
	cut        = 1 << 8
	layerShift = 16
)

func wantedLayer(want uint32) media.Layer { return media.Layer(want >> layerShift) }

// Projection is a track as one receiver gets it. Its methods may be called from any goroutine,
// though not from within its sink.
type Projection struct {
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
	state     forwarding.Projection
	history   forwarding.History
	pictures  codecs.Shift      // of picture ids since the last start
	seen      codecs.PictureIDs // of what was forwarded before a cut or a change of layer, as the receiver has them
	outgoing  media.Outgoing    // the packet that is being written
	since     uint64            // bursts up to this one are not for the projection,
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
	missed          uint64 // the highest extended number that the receiver has asked for
}

// follow makes state what Apply and Choose want. Call with mu held.
//
// Afterwards the projection gets only bursts that are taken in from now on, of the
// wanted layer or, if it was cut, of any. One under way might come from before the
// change, while one behind it was walked without the projection: the projection would
// start with the one and never learn of the other's loss, or of the new run of the
// sender in it.
func (pr *Projection) follow() {
	want := pr.want.And(^uint32(cut))
	reasons, layer, now := forwarding.Reasons(want), wantedLayer(want), pr.track.taken.Load()
	if want&cut != 0 {
		pr.remember()
		pr.state.Restart()
		pr.history.Cut()
		pr.requested = false
		pr.wish.over()
	}
	if want&cut != 0 || reasons != pr.state.Withheld() {
		pr.since = now
	}
	if layer != pr.state.Wanted() {
		pr.another = now
	}
	pr.state.Release(^reasons)
	pr.state.Withhold(reasons)
	pr.state.Want(layer)
}

// lock takes mu, and follows if that is due: whoever looks at state sees at least
// what Apply and Choose wanted before.
func (pr *Projection) lock() {
	pr.mu.Lock()
	if pr.want.Load() != uint32(pr.state.Withheld())|uint32(pr.state.Wanted())<<layerShift {
		pr.follow()
	}
}

// receive sends what of the burst is for this receiver. It tells whether the projection
// waits for a keyframe of the burst's layer after that.
func (pr *Projection) receive(batch *udp.Batch, b *burst, counts *tally) (waiting bool) {
	next := 0
	for {
		batch.Room(len(b.arrivals) - next)
		pr.lock()
		pr.outgoing.SendTime = b.sendTime
		after, started := pr.walk(batch, b, next, counts)
		waiting = pr.needsKeyframe() && pr.state.Wanted() == b.layer
		reported := pr.reported
		pr.mu.Unlock()
		if !started {
			return waiting
		}
		if !reported {
			pr.introduce(batch)
		}
		pr.replay(batch, &b.arrivals[after-1], counts)
		next = after
	}
}

// walk goes through the burst from the arrival next on, as far as the one with which
// the projection (re)starts, because what had overtaken that one follows it first. It
// returns the arrival to go on with. Call with mu held.
func (pr *Projection) walk(batch *udp.Batch, b *burst, next int, counts *tally) (after int, started bool) {
	if pr.removed || b.number <= pr.since || b.number <= pr.another && pr.present.Load() != 1+uint32(b.layer) {
		counts.withheld += uint64(len(b.arrivals) - next)

		return len(b.arrivals), false
	}
	for ; next < len(b.arrivals) && !started; next++ {
		started = pr.forward(batch, &b.arrivals[next], counts)
	}
	if started {
		pr.begin(b)
	}
	pr.publish()

	return next, started
}

// begin publishes which layer is forwarded. Where it is another than before, the snapshots
// still have the projection for that one. Call with mu held.
func (pr *Projection) begin(b *burst) {
	layer := 1 + uint32(b.layer)
	if before := pr.present.Swap(layer); before != 0 && before != layer {
		b.switched.Store(true)
	}
}

// forward decides upon one packet and writes it if that is the decision.
func (pr *Projection) forward(batch *udp.Batch, a *arrival, counts *tally) (started bool) {
	d := pr.state.Decide(&a.packet)
	switch d.Action {
	case forwarding.Forward:
		if !pr.write(batch, a, d.Header, pr.pictures, counts) {
			return false
		}
	case forwarding.Start:
		pictures := pr.picturesFrom(&a.packet)
		if !pr.write(batch, a, d.Header, pictures, counts) {
			return false
		}
		pr.start(&a.packet, d, pictures)
	case forwarding.Hold:
		counts.held++

		fallthrough
	default:
		if d.Cut {
			pr.remember()
			pr.state.Restart()
		}
		counts.drop(d.Cause)

		return false
	}
	pr.state.Forwarded(&a.packet, d)
	if a.packet.KeyframeStart {
		pr.requested, pr.keyframe = false, max(pr.keyframe, d.SequenceNumber)
		if !pr.state.NeedsKeyframe() {
			pr.wish.over()
		}
	}
	pr.count(uint16(d.SequenceNumber), len(a.payload))
	counts.forwarded++

	return d.Action == forwarding.Start
}

// write hands a packet to the sink. What that refuses, the other receivers get all the same,
// and the projection stays where it was, so that decisions measure from what was written, as
// SRTP does.
func (pr *Projection) write(
	batch *udp.Batch, a *arrival, header forwarding.Header, pictures codecs.Shift, counts *tally,
) bool {
	a.fill(&pr.outgoing, header, pictures)
	if pr.sink.WriteRTP(batch, &pr.outgoing) != nil {
		counts.sinkErrors++

		return false
	}

	return true
}

// start notes a start that is written, while state is still what it was before. A start on
// the present layer follows a cut, whether Decide or Apply made it. Call with mu held.
func (pr *Projection) start(p *forwarding.Packet, d forwarding.Decision, pictures codecs.Shift) {
	if layer, flows := pr.state.Layer(); !flows || layer == p.Layer {
		pr.history.Cut()
	}
	before, _ := pr.state.LastSequenceNumber()
	pr.history.Start(forwarding.Beginning{Packet: *p, Header: d.Header, Pictures: pictures, Before: before})
	pr.pictures = pictures
}

// picturesFrom is the shift of picture ids from a start on. Each layer, and each new run of
// its numbers, has its own count of them, and the receiver sees one; what it did not see of
// a run it does not miss. Call with mu held.
func (pr *Projection) picturesFrom(p *forwarding.Packet) codecs.Shift {
	layer, last, sent := pr.state.Last()
	if !sent || layer == p.Layer && p.SequenceNumber < last+numbers.Apart/2 {
		return pr.pictures
	}
	if _, flows := pr.state.Layer(); flows {
		pr.remember()
	}

	return p.PictureIDs.To(pr.seen)
}

// remember notes which picture ids the receiver has seen last, as long as the packet is in
// the store. Padding has none. Call with mu held.
func (pr *Projection) remember() {
	layer, number, sent := pr.state.Last()
	if !sent {
		return
	}
	t := pr.track
	t.in.Lock()
	defer t.in.Unlock()
	for n := number; n > number-storeSize; n-- {
		if p := t.layers[layer].store.get(n); p != nil && !p.packet.Empty {
			pr.seen = p.packet.PictureIDs.Shifted(pr.pictures)

			return
		}
	}
}

// count takes note of a packet that was written.
func (pr *Projection) count(sequenceNumber uint16, octets int) {
	pr.packets++
	pr.octets += uint32(octets)
	if pr.highest == 0 || int16(sequenceNumber-uint16(pr.highest)) > 0 {
		pr.highest = 1<<16 | uint32(sequenceNumber)
	}
}

// publish shows what was written to those who do not hold mu, who hold it now.
func (pr *Projection) publish() {
	if pr.written.Load() != pr.highest {
		pr.written.Store(pr.highest)
	}
}

// wishToStart follows what Apply and Choose want, and tells whether the projection now waits
// for a keyframe, and from when on the sender may be asked for it.
func (pr *Projection) wishToStart(now time.Time) (from time.Time, wanted bool) {
	pr.lock()
	defer pr.mu.Unlock()
	if pr.removed || !pr.needsKeyframe() {
		return time.Time{}, false
	}
	pr.wish.toStart(now)

	return pr.wish.from, true
}

// needsKeyframe: call with mu held.
func (pr *Projection) needsKeyframe() bool {
	return pr.requested || pr.state.NeedsKeyframe()
}

// askKeyframe asks the sender for a keyframe of the wanted layer.
func (pr *Projection) askKeyframe(from time.Time, start bool) {
	if k := pr.track.keyframes; k != nil {
		k.ask(media.LayersOf(wantedLayer(pr.want.Load())), from, start)
	}
}

// LastSequenceNumber is the highest sequence number that was written to the sink,
// so none beyond it has left; false when nothing was written.
func (pr *Projection) LastSequenceNumber() (uint16, bool) {
	last := pr.written.Load()

	return uint16(last), last != 0
}

// Withheld tells why nothing is forwarded now: the reasons, or, without any, that
// video goes on with the next keyframe.
func (pr *Projection) Withheld() (reasons forwarding.Reasons, awaitsKeyframe bool) {
	pr.lock()
	defer pr.mu.Unlock()

	return pr.state.Withheld(), pr.state.Awaits()
}

// Layer is the one that is forwarded; false while none is.
func (pr *Projection) Layer() (media.Layer, bool) {
	pr.lock()
	defer pr.mu.Unlock()

	return pr.state.Layer()
}

// SSRC is the sink's SSRC, 0 before it is negotiated.
func (pr *Projection) SSRC() uint32 { return pr.sink.SSRC() }
