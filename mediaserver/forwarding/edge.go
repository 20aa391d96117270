// Package forwarding is the pure core: one packet's facts and one edge's state
// in, a decision out.
//
// It holds no locks, clocks or goroutines and allocates nothing: every type is a
// value, every method that changes one returns the changed copy. The caller keeps
// the copy and sends what was decided.
package forwarding

import "github.com/nagi-rtc/nagi/mediaserver/media"

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
)

// Packet is what the core needs to know of one packet of the sender.
type Packet struct {
	// SequenceNumber is extended (see Source): it never wraps.
	SequenceNumber uint64
	// Timestamp is on the timeline that Source keeps.
	Timestamp uint32
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
)

// Cause tells why a packet is dropped.
type Cause uint8

// The causes of Drop.
const (
	// NotDropped goes with Hold and Forward.
	NotDropped Cause = iota
	// Withheld: there is a reason to withhold.
	Withheld
	// BeforeStart: the packet is older than the edge's last (re)start, or is no
	// newer than what was forwarded before the cut. Forwarding it would use numbers
	// a second time.
	BeforeStart
)

// Decision is what to do with one packet.
type Decision struct {
	Action Action
	Cause  Cause
	// Started tells that the edge (re)starts with this packet: newer packets that
	// were held before it are to be decided upon again.
	Started bool
	// Header is set for Forward.
	Header
}

// Header is the fields that a packet leaves with.
type Header struct {
	SequenceNumber uint16
	Timestamp      uint32
	Marker         bool
}

// farApart is the distance from which on a 16-bit sequence number does not tell ahead
// from behind, so that the two ends' SRTP indices (RFC 3711 section 3.3.1) would part.
const farApart = 1 << 15

// Edge is one receiver's state for one stream of one sender.
//
// Its outgoing sequence numbers are its own count. Between two starts they follow
// the sender's at a constant distance: the sender's gaps stay gaps, so that the
// receiver can ask for what is missing, and reordering stays reordering. The
// count stands still while the edge is withheld, so that the receiver sees no loss
// and its SRTP index (RFC 3711 section 3.3.1) agrees with ours however long that
// lasts. The zero Edge is not useful; use NewEdge.
//
// It is made of structures of four fields at most, as Decision is, because Go's
// compiler keeps only such values in registers. Copies through memory would take
// most of the time of Decide.
type Edge struct {
	kind    media.Kind
	reasons Reasons
	progress
	numbers
}

type progress struct {
	awaiting bool // the next packet forwarded is a (re)start
	sent     bool // some packet was forwarded, so numbers and midFrame count
	midFrame bool // the highest one did not end a frame
}

type numbers struct {
	start uint64 // the sender's number of the last (re)start
	in    uint64 // the sender's highest number forwarded
	out   uint16 // our number for it; one before the first until then
}

// NewEdge makes an edge from which nothing has been forwarded yet. Its first
// packet will carry the sequence number first, which the caller chooses at random
// (RFC 3550 section 5.1) below 1<<15: if the first packets are lost just before a
// wrap, the receiver guesses the roll-over counter wrong and decrypts nothing
// (RFC 3711 section 3.3.1).
func NewEdge(kind media.Kind, first uint16) Edge {
	return Edge{kind: kind, progress: progress{awaiting: true}, numbers: numbers{out: first - 1}}
}

// Decide decides upon one packet and returns the edge as it is after that.
//
// A second copy of a packet gets the number of the first: the core keeps no list.
// The caller must not offer two different packets with the same number.
//
// No two of the sender's runs are nearer than farApart, so a packet that far ahead is
// of a new run, whether the edge was told of it or not: walks of one sender's bursts
// may overtake each other. It must not be forwarded at the distance that it has, for
// its low 16 bits may be those of a number used before.
func (e Edge) Decide(p Packet) (Edge, Decision) {
	if !e.awaiting && p.SequenceNumber >= e.in+farApart {
		e = e.Restart()
	}
	switch {
	case e.reasons != 0:
		return e, Decision{Action: Drop, Cause: Withheld}
	case e.awaiting && e.sent && p.SequenceNumber <= e.in, !e.awaiting && (p.SequenceNumber < e.start || p.SequenceNumber+farApart <= e.in):
		return e, Decision{Action: Drop, Cause: BeforeStart}
	case e.awaiting && (!p.KeyframeStart || p.Empty):
		return e, Decision{Action: Hold}
	}
	started := e.awaiting
	if started {
		e = e.startAt(p.SequenceNumber)
	}
	number := e.out + uint16(p.SequenceNumber-e.in)
	if p.SequenceNumber >= e.in {
		e.in, e.out = p.SequenceNumber, number
		if !p.Empty { // padding lies between frames and ends none
			e.midFrame = !p.Marker
		}
	}
	return e, Decision{Action: Forward, Started: started, Header: Header{number, p.Timestamp, p.Marker}}
}

// startAt begins a new run of numbers with the sender's number in. It follows the
// last one without a gap, or the receiver would ask for packets that never were.
// Where a video frame was cut in the middle, one number is left out on purpose:
// otherwise the half frame and the keyframe would look adjacent, and a decoder
// would wait for the rest of a frame that never comes.
func (e Edge) startAt(in uint64) Edge {
	e.out++
	if e.sent && e.kind == media.Video && e.midFrame {
		e.out++
	}
	e.awaiting, e.sent = false, true
	e.start, e.in = in, in
	return e
}

// Withhold adds reasons. The edge is cut at once, inside a frame if need be.
func (e Edge) Withhold(r Reasons) Edge {
	e.reasons |= r
	if e.reasons != 0 {
		e.awaiting = true
	}
	return e
}

// Release takes reasons away. When none is left, audio goes on with its next
// packet and video with the next keyframe.
func (e Edge) Release(r Reasons) Edge {
	e.reasons &^= r
	return e
}

// Restart cuts the edge without withholding it, as when it may have missed packets:
// what comes next has nothing to do with what was before.
func (e Edge) Restart() Edge {
	e.awaiting = true
	return e
}

// Withheld is the set of reasons that withhold the edge now.
func (e Edge) Withheld() Reasons { return e.reasons }

// AwaitsKeyframe tells that nothing but a keyframe is missing to go on.
func (e Edge) AwaitsKeyframe() bool {
	return e.kind == media.Video && e.awaiting && e.reasons == 0
}

// LastSequenceNumber is the highest sequence number decided to be forwarded;
// false when there was none. It stands still while the edge is withheld.
func (e Edge) LastSequenceNumber() (uint16, bool) {
	return e.out, e.sent
}

// Source gives the sender's number of the packet that was forwarded under the
// number outgoing. It knows only numbers since the last (re)start: a cut makes all
// before it unanswerable, and so it does the number left out after half a frame.
func (e Edge) Source(outgoing uint16) (incoming uint64, ok bool) {
	behind := e.out - outgoing
	if e.awaiting || behind >= 1<<15 || uint64(behind) > e.in-e.start {
		return 0, false
	}
	return e.in - uint64(behind), true
}
