package forwarding

import (
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

const (
	// MaxDropout is by how many numbers a sender may run ahead and still be the same
	// run of numbers (RFC 3550 appendix A.1, MAX_DROPOUT).
	MaxDropout = 3000
	// MaxMisorder is by how many numbers a packet may be late. RFC 3550 appendix A.1
	// suggests 100; retransmissions come later than that.
	MaxMisorder = 1024
)

// Source follows one sender's stream: it extends the 16-bit sequence numbers to
// numbers that never wrap, and notices when the sender begins a new run of them,
// be it under a new SSRC or not. Then the extended numbers go on above all earlier
// ones and the timestamps are moved behind the earlier ones, so that receivers,
// whose SSRC stays the same, see one stream. The zero Source has seen nothing.
type Source struct {
	kind    media.Kind
	started bool
	ssrc    uint32
	highest uint64 // extended

	offset    uint32 // added to the sender's timestamps
	timestamp uint32 // of the highest packet, on our timeline

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

// Arrival is one packet on the receivers' view of the sender's stream.
type Arrival struct {
	// SequenceNumber is extended.
	SequenceNumber uint64
	// Timestamp is on the receivers' timeline.
	Timestamp uint32
	// Newest tells that no packet with a higher number came before.
	Newest bool
	// Restarted tells that a new run begins here, other than the first. Edges need not
	// be told: they know it by the distance of its numbers.
	Restarted bool
}

// NewSource makes a Source that has seen nothing.
func NewSource(kind media.Kind) Source { return Source{kind: kind} }

// Timestamp moves a timestamp of the sender, as in its sender reports, to the
// receivers' timeline.
func (s Source) Timestamp(rtpTime uint32) uint32 { return rtpTime + s.offset }

// Receive takes in one packet's header fields. sinceLast is the time since the
// packet before. It returns false for a packet that belongs to no run: one that is
// too far off to be lost, late or repeated, and whose successor has not come yet.
//
// A new SSRC is believed at once, because its first packet is usually a keyframe's
// first; the SSRC just left only after two packets in order, because single
// ones are stragglers.
func (s Source) Receive(ssrc uint32, sequenceNumber uint16, timestamp uint32, sinceLast time.Duration) (Source, Arrival, bool) {
	switch {
	case !s.started:
		s.started, s.ssrc = true, ssrc
		// Above 1<<16, so that no late packet gets below zero.
		s.highest = 1<<16 + uint64(sequenceNumber)
		s.timestamp = timestamp
		return s, Arrival{SequenceNumber: s.highest, Timestamp: timestamp, Newest: true}, true
	case ssrc == s.ssrc && s.plausible(sequenceNumber):
		s.candidate = candidate{}
		return s.goOn(sequenceNumber, timestamp)
	case ssrc != s.ssrc && (!s.changed || ssrc != s.former), s.candidate == candidate{true, ssrc, sequenceNumber}:
		return s.restart(ssrc, sequenceNumber, timestamp, sinceLast)
	}
	s.candidate = candidate{true, ssrc, sequenceNumber + 1}
	return s, Arrival{}, false
}

func (s Source) plausible(sequenceNumber uint16) bool {
	ahead := sequenceNumber - uint16(s.highest)
	return ahead < MaxDropout || ahead > 1<<16-MaxMisorder
}

func (s Source) goOn(sequenceNumber uint16, timestamp uint32) (Source, Arrival, bool) {
	distance := int16(sequenceNumber - uint16(s.highest))
	a := Arrival{
		SequenceNumber: s.highest + uint64(int64(distance)),
		Timestamp:      s.Timestamp(timestamp),
		Newest:         distance > 0,
	}
	if a.Newest {
		s.highest, s.timestamp = a.SequenceNumber, a.Timestamp
	}
	return s, a, true
}

// restart begins a new run. Its extended numbers keep the sender's low 16 bits and
// leave at least MaxMisorder numbers to the old run, so that late packets of the
// one are never taken for the other's.
//
// A timeline belongs to an SSRC (RFC 3550 section 5.1), so it goes on under the same
// one. Under a new one, the first timestamp follows the last by the time that went
// by. That guess costs no lip sync: sender reports are moved by the same offset, and
// they are what receivers align audio and video by.
func (s Source) restart(ssrc uint32, sequenceNumber uint16, timestamp uint32, sinceLast time.Duration) (Source, Arrival, bool) {
	s.highest = (s.highest>>16+2)<<16 + uint64(sequenceNumber)
	if ssrc != s.ssrc {
		s.offset = s.timestamp + s.ticks(sinceLast) - timestamp
		s.former, s.ssrc, s.changed = s.ssrc, ssrc, true
	}
	s.timestamp = s.Timestamp(timestamp)
	s.candidate = candidate{}
	return s, Arrival{SequenceNumber: s.highest, Timestamp: s.timestamp, Newest: true, Restarted: true}, true
}

// ticks is at least one, since two frames never share a timestamp.
func (s Source) ticks(d time.Duration) uint32 {
	return max(1, uint32(int64(s.kind.ClockRate())*int64(d/time.Microsecond)/1_000_000))
}
