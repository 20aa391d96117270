package codecs

// startsAV1 reads the aggregation header (RTP Payload Format For AV1, section 4.4): the N bit marks the
// first packet of a coded video sequence, which begins with a keyframe. Such a packet continues nothing,
// so its Z bit is 0.
func startsAV1(payload []byte) bool {
	const (
		continues   = 0x80 // Z
		newSequence = 0x08 // N
	)

	return len(payload) > 1 && payload[0]&(continues|newSequence) == newSequence
}
