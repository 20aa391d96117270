// Package forwarding is the pure core: one packet's facts and one edge's state
// in, a decision out.
//
// It holds no locks, clocks or goroutines and allocates nothing. A decision changes
// nothing: the caller sends what was decided, and says so when it is sent.
package forwarding

import (
	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Reasons is a set of reasons to withhold a stream from a receiver. An edge
// forwards only while the set is empty, so no reason can erase another: a pause
// survives whatever else comes and goes.
type Reasons uint8

// The reasons to withhold.
const (
	// Paused: a pause in force names the edge.
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
	// Start is Forward for a packet with which the edge (re)starts, or goes on with
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
	// BeforeStart: the packet is older than the edge's last (re)start, or is no
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
	// Cut tells that the sender has begun a new run of numbers, so that the edge is to
	// be restarted (Edge.Restart) unless it starts with this packet.
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

// Edge is one receiver's state for the media of one kind of one sender.
//
// Its outgoing sequence numbers are its own count. Between two starts they follow
// those of one of the sender's layers at a constant distance: the sender's gaps stay
// gaps, so that the receiver can ask for what is missing, and reordering stays
// reordering. Nothing is left out on purpose within a layer. The count stands still
// while the edge is withheld, so that the receiver sees no loss and its SRTP index
// (RFC 3711 section 3.3.1) agrees with ours however long that lasts. The zero Edge is
// not useful; use NewEdge.
type Edge struct {
	kind    media.Kind
	reasons Reasons
	layer   media.Layer // that was forwarded last
	wanted  media.Layer // that the edge goes on with at its next keyframe

	awaiting bool // the next packet forwarded is a (re)start
	sent     bool // some packet was forwarded, so what follows counts
	midFrame bool // the highest one did not end a frame

	start uint64 // the layer's number of the last (re)start
	in    uint64 // the layer's highest number forwarded
	out   uint64 // our number for it, extended; one before the first until then

	shift  uint32 // added to the layer's timestamps since the last start
	latest uint32 // the timestamp of the packet with the highest number
}

// NewEdge makes an edge from which nothing has been forwarded yet. Its first
// packet will carry the sequence number first, which the caller chooses at random
// (RFC 3550 section 5.1) below 1<<15: if the first packets are lost just before a
// wrap, the receiver guesses the roll-over counter wrong and decrypts nothing
// (RFC 3711 section 3.3.1).
func NewEdge(kind media.Kind, first uint16) Edge {
	return Edge{kind: kind, awaiting: true, out: 1<<16 + uint64(first) - 1}
}

// Decide decides upon one packet. What is decided to be forwarded has to be told to
// Forwarded once it is sent.
//
// A second copy of a packet gets the number of the first: the core keeps no list.
// No two different packets of a layer may have the same number.
//
// No two of the sender's runs of numbers are nearer than farApart, so a packet that far
// ahead is of a new run, whether the edge was told of it or not: walks of one sender's
// bursts may overtake each other. It must not be forwarded at the distance that it has,
// for its low 16 bits may be those of a number used before.
//
// An edge that is to go on with another layer forwards the present one until the
// wanted one has a keyframe, so a receiver sees no gap.
func (e *Edge) Decide(p *Packet) Decision {
	present, cut := p.Layer == e.layer, false
	if present && !e.awaiting && e.reasons == 0 {
		switch {
		case p.SequenceNumber >= e.in+farApart:
			cut = true
		case p.SequenceNumber < e.start || p.SequenceNumber+farApart <= e.in:
			return Decision{Action: Drop, Cause: BeforeStart}
		default:
			return Decision{Action: Forward, Header: Header{e.out + p.SequenceNumber - e.in, p.Timestamp + e.shift, p.Marker}}
		}
	}
	switch {
	case e.reasons != 0:
		return Decision{Action: Drop, Cause: Withheld}
	case p.Layer != e.wanted:
		return Decision{Action: Drop, Cause: OtherLayer, Cut: cut}
	case present && e.sent && p.SequenceNumber <= e.in:
		return Decision{Action: Drop, Cause: BeforeStart}
	case !p.KeyframeStart || p.Empty:
		return Decision{Action: Hold, Cut: cut}
	}

	return Decision{Action: Start, Cut: cut, Header: e.startWith(p)}
}

// startWith is the header of a packet that begins a new span. It follows the last one
// without a gap, or the receiver would ask for packets that never were. Where a video
// frame was cut in the middle, one number is left out on purpose: otherwise the half frame
// and the keyframe would look adjacent, and a decoder would wait for the rest of a frame
// that never comes.
//
// Time goes on as well. The wanted layer's keyframe may be of an instant of which the
// receiver has another layer's picture, and two frames never share a timestamp.
func (e *Edge) startWith(p *Packet) Header {
	h := Header{e.out + 1, p.Timestamp + p.Offset, p.Marker}
	if e.sent && e.kind == media.Video && e.midFrame {
		h.SequenceNumber++
	}
	if e.sent && int32(h.Timestamp-e.latest) <= 0 {
		h.Timestamp = e.latest + 1
	}

	return h
}

// Forwarded notes that a packet was sent as was decided.
func (e *Edge) Forwarded(p *Packet, d Decision) {
	if d.Action == Start {
		e.layer, e.start, e.shift = p.Layer, p.SequenceNumber, d.Timestamp-p.Timestamp
		e.awaiting, e.sent = false, true
	} else if p.SequenceNumber < e.in {
		return
	}
	e.in, e.out, e.latest = p.SequenceNumber, d.SequenceNumber, d.Timestamp
	if !p.Empty { // padding lies between frames and ends none
		e.midFrame = !p.Marker
	}
}

// Withhold adds reasons. The edge is cut at once, inside a frame if need be.
func (e *Edge) Withhold(r Reasons) {
	e.reasons |= r
	if e.reasons != 0 {
		e.awaiting = true
	}
}

// Release takes reasons away. When none is left, audio goes on with its next
// packet and video with the next keyframe.
func (e *Edge) Release(r Reasons) { e.reasons &^= r }

// Restart cuts the edge without withholding it, as when it may have missed packets:
// what comes next has nothing to do with what was before.
func (e *Edge) Restart() { e.awaiting = true }

// Want has the edge go on with a layer, from that one's next keyframe on.
func (e *Edge) Want(layer media.Layer) { e.wanted = layer }

// Withheld is the set of reasons that withhold the edge now.
func (e *Edge) Withheld() Reasons { return e.reasons }

// Awaits tells that the receiver gets nothing until a keyframe comes, though nothing
// withholds the edge.
func (e *Edge) Awaits() bool { return e.kind == media.Video && e.awaiting && e.reasons == 0 }

// NeedsKeyframe tells that a keyframe of the wanted layer is all that is missing to go
// on as wanted.
func (e *Edge) NeedsKeyframe() bool {
	return e.kind == media.Video && e.reasons == 0 && (e.awaiting || e.layer != e.wanted)
}

// Layer is the one that was forwarded last; flows: it still is.
func (e *Edge) Layer() (layer media.Layer, flows bool) { return e.layer, !e.awaiting }

// Wanted is the layer that the edge goes on with at its next keyframe.
func (e *Edge) Wanted() media.Layer { return e.wanted }

// Shift is what is added to the layer's timestamps.
func (e *Edge) Shift() uint32 { return e.shift }

// Last is the packet with the highest number that was forwarded, by its layer's number.
func (e *Edge) Last() (layer media.Layer, sequenceNumber uint64, sent bool) {
	return e.layer, e.in, e.sent
}

// LastSequenceNumber is the highest sequence number that was forwarded, extended; false
// when there was none. It stands still while the edge is withheld.
func (e *Edge) LastSequenceNumber() (uint64, bool) { return e.out, e.sent }
