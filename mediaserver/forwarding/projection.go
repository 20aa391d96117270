// Package forwarding is the pure core: one packet's facts and one projection's state
// in, a decision out.
//
// It holds no locks, clocks or goroutines and allocates nothing. A decision changes
// nothing: the caller sends what was decided, and says so when it is sent.
package forwarding

import (
	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Reasons is a set of reasons to withhold a stream from a receiver. A projection
// forwards only while the set is empty, so no reason can erase another: a pause
// survives whatever else comes and goes.
type Reasons uint8

// The reasons to withhold.
const (
	// Paused: a pause in force matches the edge, and names its kind.
	Paused Reasons = 1 << iota
	// NoTable: the channel's table has not arrived yet.
	NoTable
	// Unnegotiated: there is no transport to the receiver for this stream yet.
	Unnegotiated
	// Unrequested: the receiver wants none of the sender's layers.
	Unrequested
	// Unfocused: the channel is a spotlight channel, and what is withheld is for who is in
	// focus, or speaks.
	Unfocused
	// Bandwidth: the receiver cannot be sent even the lowest of the sender's layers.
	Bandwidth
	// Unreceived: the receiver's last answer does not receive the stream.
	Unreceived
)

// Promised are the reasons that somebody relies on: once these are in force, no packet
// may be on its way any more.
const Promised = Paused | NoTable | Unnegotiated

// Packet is what the core needs to know of one packet of the sender.
type Packet struct {
	// SequenceNumber is extended (package numbers): in one layer it never wraps.
	SequenceNumber uint64
	// Timestamp is the sender's, and Offset what brings it onto the Timeline.
	Timestamp, Offset uint32
	Layer             media.Layer
	PictureIDs        codecs.PictureIDs
	// Marker is the marker bit; in video it ends a frame.
	Marker bool
	// KeyframeStart tells that a receiver may start here: the first packet of a
	// keyframe, or in audio any packet newer than all before it.
	KeyframeStart bool
	// Empty tells that there is no payload, as in packets of padding alone, with
	// which browsers probe the bandwidth. They occupy a sequence number, so they are
	// forwarded without payload: leaving them out would look like loss to the
	// receiver, and closing the gap would need a list of offsets to keep late
	// packets right. Receivers take an empty packet as a sign of life.
	Empty bool
}

// Action is what to do with a packet.
type Action uint8

// The actions.
const (
	// Drop: the packet is not for this receiver.
	Drop Action = iota
	// Hold: the receiver waits for a keyframe's first packet. Should this packet
	// belong to that keyframe, and only overtook its first one, it is wanted then.
	Hold
	// Forward: send it with the header fields of the decision.
	Forward
	// Start is Forward for a packet with which the projection (re)starts, or goes on with
	// another layer: newer packets that were held before it are to be decided upon
	// again.
	Start
)

// Cause tells why a packet is dropped.
type Cause uint8

// The causes of Drop.
const (
	// NotDropped goes with the other actions.
	NotDropped Cause = iota
	// Withheld: there is a reason to withhold.
	Withheld
	// BeforeStart: the packet is older than the projection's last (re)start, or is no
	// newer than what was forwarded before the cut. Forwarding it would use numbers
	// a second time.
	BeforeStart
	// OtherLayer: the receiver gets another layer.
	OtherLayer
)

// Decision is what to do with one packet. It has four fields at most, as Header has,
// because Go's compiler keeps only such values in registers.
type Decision struct {
	Action Action
	Cause  Cause
	// Cut tells that the sender has begun a new run of numbers, so that the projection is
	// to be restarted (Projection.Restart) unless it starts with this packet.
	Cut bool
	// Header is set for Forward and Start.
	Header
}

// Header is the fields that a packet leaves with.
type Header struct {
	// SequenceNumber is extended; its low 16 bits go out.
	SequenceNumber uint64
	Timestamp      uint32
	Marker         bool
}

// farApart is the distance from which on a 16-bit sequence number does not tell ahead
// from behind, so that the two ends' SRTP indices (RFC 3711 section 3.3.1) would part.
const farApart = 1 << 15

// Projection is one receiver's state for what one sender sends of one kind, which is
// projected into the receiver's session (RFC 7667 section 3.7).
//
// Its outgoing sequence numbers are its own count. Between two starts they follow those
// of one of the sender's layers at a constant distance: the sender's gaps stay gaps, so
// that the receiver can ask for what is missing, and reordering stays reordering.
// Nothing is left out on purpose within a layer. The count stands still while the
// projection is withheld, so that the receiver sees no loss and its SRTP index (RFC
// 3711 section 3.3.1) agrees with ours however long that lasts. The zero Projection is
// not useful; use NewProjection.
type Projection struct {
	kind    media.Kind
	reasons Reasons
	layer   media.Layer // that was forwarded last
	wanted  media.Layer // that the projection goes on with at its next keyframe

	awaiting bool // the next packet forwarded is a (re)start
	sent     bool // some packet was forwarded, so what follows counts
	midFrame bool // the highest one did not end a frame

	start uint64 // the layer's number of the last (re)start
	in    uint64 // the layer's highest number forwarded
	out   uint64 // our number for it, extended; one before the first until then

	shift  uint32 // added to the layer's timestamps since the last start
	latest uint32 // the timestamp of the packet with the highest number
}

// NewProjection makes a projection from which nothing has been forwarded yet. Its first
// packet will carry the sequence number first, which the caller chooses at random
// (RFC 3550 section 5.1) below 1<<15: if the first packets are lost just before a
// wrap, the receiver guesses the roll-over counter wrong and decrypts nothing
// (RFC 3711 section 3.3.1).
func NewProjection(kind media.Kind, first uint16) Projection {
	return Projection{kind: kind, awaiting: true, out: 1<<16 + uint64(first) - 1}
}

// Decide decides upon one packet. What is decided to be forwarded has to be told to
// Forwarded once it is sent.
//
// A second copy of a packet gets the number of the first: the core keeps no list.
// No two different packets of a layer may have the same number.
//
// No two of the sender's runs of numbers are nearer than farApart, so a packet that far
// ahead is of a new run, whether the projection was told of it or not: walks of one
// sender's bursts may overtake each other. It must not be forwarded at the distance
// that it has, for its low 16 bits may be those of a number used before.
//
// A projection that is to go on with another layer forwards the present one until the
// wanted one has a keyframe, so a receiver sees no gap.
func (pr *Projection) Decide(p *Packet) Decision {
	present, cut := p.Layer == pr.layer, false
	if present && !pr.awaiting && pr.reasons == 0 {
		switch {
		case p.SequenceNumber >= pr.in+farApart:
			cut = true
		case p.SequenceNumber < pr.start || p.SequenceNumber+farApart <= pr.in:
			return Decision{Action: Drop, Cause: BeforeStart}
		default:
			number := pr.out + p.SequenceNumber - pr.in

			return Decision{Action: Forward, Header: Header{number, p.Timestamp + pr.shift, p.Marker}}
		}
	}
	switch {
	case pr.reasons != 0:
		return Decision{Action: Drop, Cause: Withheld}
	case p.Layer != pr.wanted:
		return Decision{Action: Drop, Cause: OtherLayer, Cut: cut}
	case present && pr.sent && p.SequenceNumber <= pr.in:
		return Decision{Action: Drop, Cause: BeforeStart}
	case !p.KeyframeStart || p.Empty:
		return Decision{Action: Hold, Cut: cut}
	}

	return Decision{Action: Start, Cut: cut, Header: pr.startWith(p)}
}

// startWith is the header of a packet that begins a new span. It follows the last one
// without a gap, or the receiver would ask for packets that never were. Where a video
// frame was cut in the middle, one number is left out on purpose: otherwise the half frame
// and the keyframe would look adjacent, and a decoder would wait for the rest of a frame
// that never comes.
//
// Time goes on as well. The wanted layer's keyframe may be of an instant of which the
// receiver has another layer's picture, and two frames never share a timestamp.
func (pr *Projection) startWith(p *Packet) Header {
	h := Header{pr.out + 1, p.Timestamp + p.Offset, p.Marker}
	if pr.sent && pr.kind == media.Video && pr.midFrame {
		h.SequenceNumber++
	}
	if pr.sent && int32(h.Timestamp-pr.latest) <= 0 {
		h.Timestamp = pr.latest + 1
	}

	return h
}

// Forwarded notes that a packet was sent as was decided.
func (pr *Projection) Forwarded(p *Packet, d Decision) {
	if d.Action == Start {
		pr.layer, pr.start, pr.shift = p.Layer, p.SequenceNumber, d.Timestamp-p.Timestamp
		pr.awaiting, pr.sent = false, true
	} else if p.SequenceNumber < pr.in {
		return
	}
	pr.in, pr.out, pr.latest = p.SequenceNumber, d.SequenceNumber, d.Timestamp
	if !p.Empty { // padding lies between frames and ends none
		pr.midFrame = !p.Marker
	}
}

// Withhold adds reasons. The projection is cut at once, inside a frame if need be.
func (pr *Projection) Withhold(r Reasons) {
	pr.reasons |= r
	if pr.reasons != 0 {
		pr.awaiting = true
	}
}

// Release takes reasons away. When none is left, audio goes on with its next
// packet and video with the next keyframe.
func (pr *Projection) Release(r Reasons) { pr.reasons &^= r }

// Restart cuts the projection without withholding it, as when it may have missed
// packets: what comes next has nothing to do with what was before.
func (pr *Projection) Restart() { pr.awaiting = true }

// Want has the projection go on with a layer, from that one's next keyframe on.
func (pr *Projection) Want(layer media.Layer) { pr.wanted = layer }

// Withheld is the set of reasons that withhold the projection now.
func (pr *Projection) Withheld() Reasons { return pr.reasons }

// Awaits tells that the receiver gets nothing until a keyframe comes, though nothing
// withholds the projection.
func (pr *Projection) Awaits() bool { return pr.kind == media.Video && pr.awaiting && pr.reasons == 0 }

// NeedsKeyframe tells that a keyframe of the wanted layer is all that is missing to go
// on as wanted.
func (pr *Projection) NeedsKeyframe() bool {
	return pr.kind == media.Video && pr.reasons == 0 && (pr.awaiting || pr.layer != pr.wanted)
}

// Layer is the one that was forwarded last; flows: it still is.
func (pr *Projection) Layer() (layer media.Layer, flows bool) { return pr.layer, !pr.awaiting }

// Wanted is the layer that the projection goes on with at its next keyframe.
func (pr *Projection) Wanted() media.Layer { return pr.wanted }

// Shift is what is added to the layer's timestamps.
func (pr *Projection) Shift() uint32 { return pr.shift }

// Last is the packet with the highest number that was forwarded, by its layer's number.
func (pr *Projection) Last() (layer media.Layer, sequenceNumber uint64, sent bool) {
	return pr.layer, pr.in, pr.sent
}

// LastSequenceNumber is the highest sequence number that was forwarded, extended; false
// when there was none. It stands still while the projection is withheld.
func (pr *Projection) LastSequenceNumber() (uint64, bool) { return pr.out, pr.sent }
