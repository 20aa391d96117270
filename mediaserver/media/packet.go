package media

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
	// Padding is how many bytes of RTP padding (RFC 3550 section 5.1) go behind the
	// payload; 0: none.
	Padding uint8
	Payload []byte
	// Patch changes some of the payload.
	Patch Patch
}

// Patch is bytes that take the place of a payload's. A payload is kept once for all
// receivers, and what differs between them is this much at most.
type Patch struct {
	At, Size uint8
	Bytes    [4]byte
}

// Apply writes the patch over a copy of the payload that it was made for.
func (p *Patch) Apply(payload []byte) { copy(payload[p.At:], p.Bytes[:p.Size]) }
