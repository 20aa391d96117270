package media

import "time"

// Received is one packet of a sender, as its transport hands it on.
type Received struct {
	// SequenceNumber is extended (see package numbers): it never wraps, and goes on
	// upwards whatever the sender does.
	SequenceNumber uint64
	// Timestamp is the sender's own, on the timeline of the SSRC.
	Timestamp uint32
	SSRC      uint32
	// Layer is the one of the sender's encodings that the packet is of.
	Layer Layer
	// Marker is the marker bit; in video it ends a frame.
	Marker bool
	// HasLevel tells that the sender says how loud the packet is: Level, in dB below
	// overload, 127 being silence (RFC 6464 section 3).
	HasLevel bool
	Level    uint8
	// Payload is without padding, so it is empty where the packet was nothing else.
	Payload []byte
}

// Outgoing is one packet on its way to one receiver.
type Outgoing struct {
	SequenceNumber uint16
	Timestamp      uint32
	Marker         bool
	// SendTime is when it leaves, in 1/2^18 s: see SendTime.
	SendTime uint32
	// Padding is how many bytes of RTP padding (RFC 3550 section 5.1) go behind the
	// payload; 0: none.
	Padding uint8
	Payload []byte
	// Patch changes some of the payload.
	Patch Patch
}

// origin is what send times are counted from. Receivers measure how much later than another
// one a packet comes, so any origin will do, if it is the same for all that one receiver gets,
// and the clock is one that nobody sets.
var origin = time.Now()

// SendTime is a moment in 1/2^18 s, modulo 64 s: 24 bits, six of them before the point, as
// packets carry it that say when they leave.
func SendTime(at time.Time) uint32 {
	passed := at.Sub(origin) % (64 * time.Second)

	return uint32(passed<<18/time.Second) & (1<<24 - 1)
}

// Patch is bytes that take the place of a payload's. A payload is kept once for all
// receivers, and what differs between them is this much at most.
type Patch struct {
	At, Size uint8
	Bytes    [4]byte
}

// Apply writes the patch over a copy of the payload that it was made for.
func (p *Patch) Apply(payload []byte) { copy(payload[p.At:], p.Bytes[:p.Size]) }
