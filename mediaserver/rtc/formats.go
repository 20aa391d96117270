package rtc

import (
	"slices"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// payloadTypes are what one side of a session calls a format; rtx is that of its retransmissions (RFC 4588), 0: none.
type payloadTypes struct{ media, rtx uint8 }

// agreed is how a stream leaves, as the client calls it. sendTime is the identifier of absoluteSendTime, delay that of
// playoutDelay; 0: it has none. It has one only where retransmissions have a stream of their own: on the stream itself
// a packet that is sent again must be the same, or AES-GCM would encrypt two texts under one nonce.
type agreed struct {
	payloadTypes
	sendTime, delay uint8
}

const (
	opusPayloadType = 111
	// firstPayloadType is the first dynamic one (RFC 3551 section 6). Video formats have two each, of which none may be
	// Opus's.
	firstPayloadType = 96
	// maxFormats of video have room from there to the last one, 127.
	maxFormats = 15
)

// formats are the video formats of a session, and what the client has said of each. A payload type means one format in
// all m-lines of a session (RFC 9143 section 9.1), for ever: it would not be known what a late packet is.
type formats struct {
	video    []codecs.Format // in the order of their payload types
	accepted []codecs.Format // at some time
	rejected []codecs.Format // and never accepted
}

// offer gives a format payload types; false: there are none left, or the client has rejected it.
func (f *formats) offer(format codecs.Format) bool {
	switch {
	case slices.Contains(f.rejected, format):
		return false
	case format.Codec == codecs.Opus, slices.Contains(f.video, format):
		return true
	case len(f.video) == maxFormats:
		return false
	}
	f.video = append(f.video, format)

	return true
}

// payloadTypes are what the server calls a format that has been offered.
func (f *formats) payloadTypes(format codecs.Format) payloadTypes {
	if format.Codec == codecs.Opus {
		return payloadTypes{media: opusPayloadType}
	}
	media := uint8(firstPayloadType + 2*slices.Index(f.video, format))
	if media >= opusPayloadType-1 {
		media += 2
	}

	return payloadTypes{media: media, rtx: media + 1}
}

// answered notes what an answer says of a format. A client that takes the format on one m-line and not on another has
// nothing against the format.
func (f *formats) answered(format codecs.Format, accepted bool) {
	switch {
	case format.Codec == codecs.Opus: // Everybody knows it (RFC 7874 section 3).
	case slices.Contains(f.accepted, format):
	case accepted:
		f.accepted = append(f.accepted, format)
		f.rejected = slices.DeleteFunc(f.rejected, func(r codecs.Format) bool { return r == format })
	case !slices.Contains(f.rejected, format):
		f.rejected = append(f.rejected, format)
	}
}
