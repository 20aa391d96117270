package codecs

import (
	"encoding/binary"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// PictureIDs are a picture's running numbers in the payload descriptor of VP8 (RFC 7741 section 4.2) or
// VP9 (RFC 9628 section 4.2), and where in the payload they stand. Decoders tell by them what they have
// missed, so a receiver that is switched from one run of them to another must not see the seam.
type PictureIDs struct {
	// PictureID counts pictures, in 7 bits or 15.
	PictureID uint16
	// TL0PICIDX counts the pictures of the lowest temporal layer.
	TL0PICIDX uint8

	pictureIDAt, tl0PicIdxAt uint8 // counted from the payload's first byte, which neither can be; 0: it has none
	long                     bool  // the picture id has 15 bits
}

// Shift is what is added to picture ids; the zero Shift changes nothing.
type Shift struct {
	PictureID uint16
	TL0PICIDX uint8
}

// Patch adds the shift to the ids in the payload that they were found in. Each keeps
// its width and wraps around in it; one that the payload does not have stays absent.
func (p PictureIDs) Patch(payload []byte, shift Shift) media.Patch {
	var patch media.Patch
	at, end := p.pictureIDAt, p.pictureIDAt+1
	switch {
	case p.pictureIDAt == 0 && p.tl0PicIdxAt == 0:
		return patch
	case p.pictureIDAt == 0:
		at = p.tl0PicIdxAt
	case p.long:
		end++
	}
	end = max(end, p.tl0PicIdxAt+1) // Nothing but VP9's layer indices may be between the two.
	patch.At, patch.Size = at, uint8(copy(patch.Bytes[:], payload[at:end]))
	switch id := p.PictureID + shift.PictureID; {
	case p.pictureIDAt == 0:
	case p.long:
		binary.BigEndian.PutUint16(patch.Bytes[:], longPictureID<<8|id&(1<<15-1))
	default:
		patch.Bytes[0] = uint8(id & (1<<7 - 1))
	}
	if p.tl0PicIdxAt != 0 {
		patch.Bytes[p.tl0PicIdxAt-at] = p.TL0PICIDX + shift.TL0PICIDX
	}

	return patch
}

// To is the shift that makes p the ids that follow others, of which the receiver has
// seen the picture before.
func (p PictureIDs) To(others PictureIDs) Shift {
	return Shift{PictureID: others.PictureID + 1 - p.PictureID, TL0PICIDX: others.TL0PICIDX + 1 - p.TL0PICIDX}
}

// Shifted is the ids as a receiver sees them.
func (p PictureIDs) Shifted(by Shift) PictureIDs {
	p.PictureID += by.PictureID
	p.TL0PICIDX += by.TL0PICIDX

	return p
}

// longPictureID is the M bit of a picture id's first byte: another byte follows. Both codecs have it.
const longPictureID = 0x80

// readPictureID reads the picture id that stands at an offset of at least 1, and tells where the next
// field is; that may be behind the payload's end, and then there is no id.
func (p *PictureIDs) readPictureID(payload []byte, at int) (next int) {
	switch {
	case len(payload) <= at:
	case payload[at]&longPictureID == 0:
		p.pictureIDAt, p.PictureID = uint8(at), uint16(payload[at])
	case len(payload) > at+1:
		p.pictureIDAt, p.PictureID = uint8(at), binary.BigEndian.Uint16(payload[at:])&(1<<15-1)
		p.long = true

		return at + 2
	default:
		return at + 2
	}

	return at + 1
}

// readTL0PICIDX does the same for TL0PICIDX.
func (p *PictureIDs) readTL0PICIDX(payload []byte, at int) (next int) {
	if len(payload) > at {
		p.tl0PicIdxAt, p.TL0PICIDX = uint8(at), payload[at]
	}

	return at + 1
}
