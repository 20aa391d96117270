package codecs

// inspectVP9 reads the payload descriptor (RFC 9628 section 4.2) as far as the ids go. A keyframe starts
// with the first packet of a layer frame that is predicted from no other picture. Upper spatial layers of
// a keyframe are predicted from the layer below alone, so theirs are no start.
func inspectVP9(payload []byte) Facts {
	const (
		pictureID = 0x80 // I
		predicted = 0x40 // P
		layers    = 0x20 // L
		flexible  = 0x10 // F
		begins    = 0x08 // B

		spatial = 0x0e // SID, in the byte of layer indices
	)
	if len(payload) < 2 {
		return Facts{}
	}
	var ids PictureIDs
	flags, at := payload[0], 1
	if flags&pictureID != 0 {
		at = ids.readPictureID(payload, at)
	}
	lowest := true
	if flags&layers != 0 {
		if at >= len(payload) {
			return Facts{}
		}
		lowest = payload[at]&spatial == 0
		at++
		if flags&flexible == 0 {
			at = ids.readTL0PICIDX(payload, at)
		}
	}
	if at >= len(payload) {
		return Facts{}
	}

	return Facts{KeyframeStart: flags&(predicted|begins) == begins && lowest, PictureIDs: ids}
}
