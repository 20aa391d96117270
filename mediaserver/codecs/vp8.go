package codecs

// inspectVP8 reads the payload descriptor (RFC 7741 section 4.2). A keyframe starts where the S bit is
// set, the partition index is 0, and in the payload header behind the descriptor (section 4.3) the P bit,
// the inverse of the keyframe flag, is 0.
func inspectVP8(payload []byte) Facts {
	const (
		extended = 0x80 // X
		start    = 0x10 // S
		index    = 0x07 // PID

		pictureID = 0x80 // I
		tl0PicIdx = 0x40 // L
		temporal  = 0x20 // T
		keyIdx    = 0x10 // K

		interframe = 0x01 // P
	)
	if len(payload) < 2 {
		return Facts{}
	}
	var ids PictureIDs
	at := 1
	if payload[0]&extended != 0 {
		flags := payload[1]
		at = 2
		if flags&pictureID != 0 {
			at = ids.readPictureID(payload, at)
		}
		if flags&tl0PicIdx != 0 {
			at = ids.readTL0PICIDX(payload, at)
		}
		if flags&(temporal|keyIdx) != 0 { // Both share one byte.
			at++
		}
	}
	if at >= len(payload) {
		return Facts{}
	}
	starts := payload[0]&start != 0 && payload[0]&index == 0

	return Facts{KeyframeStart: starts && payload[at]&interframe == 0, PictureIDs: ids}
}
