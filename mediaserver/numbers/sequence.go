// Package numbers is pure: it extends the 16-bit sequence numbers of what a sender
// sends to numbers that never wrap, once for everybody who looks at them.
package numbers

const (
	// MaxDropout is by how many numbers a sender may run ahead and still be the same
	// run of numbers (RFC 3550 appendix A.1, MAX_DROPOUT).
	MaxDropout = 3000
	// MaxMisorder is by how many numbers a packet may be late. RFC 3550 appendix A.1
	// suggests 100; retransmissions come later than that.
	MaxMisorder = 1024
	// Apart is how far two runs of numbers are from each other at least.
	Apart = 1 << 16
)

// Sequence follows the numbers of one stream. It notices when the sender begins a new
// run of them, be it under a new SSRC or not: then the extended numbers go on above all
// earlier ones. The zero Sequence has seen nothing.
type Sequence struct {
	started bool
	ssrc    uint32
	highest uint64 // extended

	former    uint32    // the SSRC before ssrc
	changed   bool      // former counts
	candidate candidate // of a new run
}

// candidate is a packet that fits no run, remembered until its successor shows
// that it began one (RFC 3550 appendix A.1, bad_seq).
type candidate struct {
	valid bool
	ssrc  uint32
	next  uint16
}

// Number is one packet's.
type Number struct {
	// Extended has the packet's own number as its low 16 bits.
	Extended uint64
	// Newest tells that no packet with a higher number came before.
	Newest bool
	// Restarted tells that a new run begins here, other than the first.
	Restarted bool
}

// Receive takes in one packet's header fields. It returns false for a packet that
// belongs to no run: one that is too far off to be lost, late or repeated, and whose
// successor has not come yet.
//
// A new SSRC is believed at once, because its first packet is usually a keyframe's
// first; the SSRC just left only after two packets in order, because single
// ones are stragglers.
func (s Sequence) Receive(ssrc uint32, sequenceNumber uint16) (Sequence, Number, bool) {
	switch {
	case !s.started:
		s.started, s.ssrc = true, ssrc
		s.highest = Apart + uint64(sequenceNumber) // so that no late packet gets below zero

		return s, Number{Extended: s.highest, Newest: true}, true
	case ssrc == s.ssrc && s.Near(sequenceNumber):
		s.candidate = candidate{}

		return s.goOn(sequenceNumber)
	case ssrc != s.ssrc && (!s.changed || ssrc != s.former), s.candidate == candidate{true, ssrc, sequenceNumber}:
		return s.restart(ssrc, sequenceNumber)
	}
	s.candidate = candidate{true, ssrc, sequenceNumber + 1}

	return s, Number{}, false
}

// Near tells whether a number may belong to the run that is under way. Before the first
// one, any may.
func (s Sequence) Near(sequenceNumber uint16) bool {
	ahead := sequenceNumber - uint16(s.highest)

	return !s.started || ahead < MaxDropout || ahead > 1<<16-MaxMisorder
}

// Highest is the highest number, extended; false when there was none.
func (s Sequence) Highest() (uint64, bool) { return s.highest, s.started }

func (s Sequence) goOn(sequenceNumber uint16) (Sequence, Number, bool) {
	distance := int16(sequenceNumber - uint16(s.highest))
	n := Number{Extended: s.highest + uint64(int64(distance)), Newest: distance > 0}
	if n.Newest {
		s.highest = n.Extended
	}

	return s, n, true
}

// restart begins a new run. Its extended numbers keep the sender's low 16 bits and
// leave at least MaxMisorder numbers to the old run, so that late packets of the
// one are never taken for the other's.
func (s Sequence) restart(ssrc uint32, sequenceNumber uint16) (Sequence, Number, bool) {
	s.highest = (s.highest>>16+2)<<16 + uint64(sequenceNumber)
	if ssrc != s.ssrc {
		s.former, s.ssrc, s.changed = s.ssrc, ssrc, true
	}
	s.candidate = candidate{}

	return s, Number{Extended: s.highest, Newest: true, Restarted: true}, true
}
