package forwarding

import (
	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// maxSpans is how many spans a History reaches back. Each but the first began with a
// change of layer, and nobody asks any more for what is older than three of those.
const maxSpans = 4

// History tells which packet left a projection under which number, since the last cut:
// what a pause has cut stays unanswerable, what left on another layer does not. Between
// two starts the distance of the numbers is constant, so it remembers starts alone. The
// zero History knows of nothing.
type History struct {
	spans [maxSpans]span // the newest is the one before next
	next  int
	known int // how many of them count
}

// span is what is forwarded from one start to the next, at one distance from the layer's
// numbers.
type span struct {
	first, last uint64 // our numbers; last counts once another span has begun
	in          uint64 // the layer's number for first
	shift       uint32 // added to the layer's timestamps
	pictures    codecs.Shift
	layer       media.Layer
}

// Origin is where a packet that left came from.
type Origin struct {
	Layer media.Layer
	// SequenceNumber is the layer's.
	SequenceNumber uint64
	// Number is the one that it left under, extended.
	Number uint64
	// Shift was added to its timestamp, and Pictures to its picture ids.
	Shift    uint32
	Pictures codecs.Shift
}

// Header is the fields that the packet left with.
func (o Origin) Header(p Packet) Header { return Header{o.Number, p.Timestamp + o.Shift, p.Marker} }

// Beginning is a packet that began a span, and how it left.
type Beginning struct {
	Packet   Packet
	Header   Header
	Pictures codecs.Shift
	// Before is the highest number that had left until then, if any had.
	Before uint64
}

// Cut forgets everything.
func (h *History) Cut() { h.known = 0 }

// Start notes the start of a span.
func (h *History) Start(start Beginning) {
	if h.known > 0 {
		h.spans[(h.next+maxSpans-1)%maxSpans].last = start.Before
	}
	h.spans[h.next] = span{
		layer: start.Packet.Layer, first: start.Header.SequenceNumber, in: start.Packet.SequenceNumber,
		shift: start.Header.Timestamp - start.Packet.Timestamp, pictures: start.Pictures,
	}
	h.next = (h.next + 1) % maxSpans
	h.known = min(h.known+1, maxSpans)
}

// Find tells what left under a number, of which the receiver says the low 16 bits. highest
// is the highest that has left. A number that was left out on purpose, that has not
// left yet or that is from before the cut, has no origin.
func (h *History) Find(sequenceNumber uint16, highest uint64) (Origin, bool) {
	behind := uint16(highest) - sequenceNumber
	if behind >= farApart {
		return Origin{}, false
	}
	number := highest - uint64(behind)
	last := highest
	for i := range h.known {
		r := &h.spans[(h.next+2*maxSpans-1-i)%maxSpans]
		if i > 0 {
			last = r.last
		}
		if number >= r.first {
			return Origin{r.layer, r.in + number - r.first, number, r.shift, r.pictures}, number <= last
		}
	}

	return Origin{}, false
}
