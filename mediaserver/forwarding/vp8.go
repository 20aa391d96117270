package forwarding

// VP8KeyframeStart tells whether payload is the first packet of a VP8 keyframe:
// in the payload descriptor (RFC 7741 section 4.2) the S bit is set and the
// partition index is 0, and in the payload header behind it (section 4.3) the P
// bit, the inverse of the keyframe flag, is 0. Malformed payloads are none.
func VP8KeyframeStart(payload []byte) bool {
	const (
		extended = 0x80 // X
		start    = 0x10 // S
		index    = 0x07 // PID
	)
	if len(payload) == 0 || payload[0]&start == 0 || payload[0]&(index) != 0 {
		return false
	}
	header := 1
	if payload[0]&extended != 0 {
		if len(payload) < 2 {
			return false
		}
		header = vp8ExtendedDescriptorLength(payload)
	}
	return header < len(payload) && payload[header]&0x01 == 0
}

// vp8ExtendedDescriptorLength is the length in bytes of a descriptor of at least
// two bytes whose X bit is set; it may exceed the payload.
func vp8ExtendedDescriptorLength(payload []byte) int {
	const (
		pictureID = 0x80 // I
		tl0PicIdx = 0x40 // L
		temporal  = 0x20 // T
		keyIdx    = 0x10 // K
		longID    = 0x80 // M, in the picture id's first byte
	)
	flags, length := payload[1], 2
	if flags&pictureID != 0 {
		if len(payload) > length && payload[length]&longID != 0 {
			length++
		}
		length++
	}
	if flags&tl0PicIdx != 0 {
		length++
	}
	if flags&(temporal|keyIdx) != 0 { // both share one byte
		length++
	}
	return length
}
