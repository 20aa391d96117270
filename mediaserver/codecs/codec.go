// Package codecs knows what the codecs' RTP payloads and SDP formats say: where a keyframe starts, where
// a picture's ids stand and how to move them, and how an m-line describes a codec. It is pure, and reads
// headers alone: no picture, no sound.
package codecs

import "github.com/nagi-rtc/nagi/mediaserver/media"

// Codec is how media is coded.
type Codec uint8

// The codecs that are forwarded.
const (
	Opus Codec = iota
	VP8
	VP9
	H264
	AV1
)

// names are Sora's, which are those of SDP in capitals.
var names = [...]string{Opus: "OPUS", VP8: "VP8", VP9: "VP9", H264: "H264", AV1: "AV1"}

// Parse finds a codec by its name in Sora's protocol, such as OPUS or VP9.
func Parse(name string) (c Codec, ok bool) {
	for i, n := range names {
		if n == name {
			return Codec(i), true
		}
	}

	return 0, false
}

// String is the codec's name in Sora's protocol.
func (c Codec) String() string { return names[c] }

// Kind is the kind of media that is coded.
func (c Codec) Kind() media.Kind {
	if c == Opus {
		return media.Audio
	}

	return media.Video
}

// Facts are what one RTP payload says by itself.
type Facts struct {
	// KeyframeStart tells that a receiver may start here: the payload is the first of a keyframe, or is
	// any of audio that is not empty.
	KeyframeStart bool
	// PictureIDs are zero where the codec, or the sender, has none.
	PictureIDs PictureIDs
}

// Inspect reads a payload, which may be anything: what is malformed is no keyframe's start and has no ids.
// It keeps nothing of it.
func (c Codec) Inspect(payload []byte) Facts {
	switch c {
	case Opus:
		return Facts{KeyframeStart: len(payload) > 0}
	case VP8:
		return inspectVP8(payload)
	case VP9:
		return inspectVP9(payload)
	case H264:
		return Facts{KeyframeStart: startsH264(payload)}
	case AV1:
		return Facts{KeyframeStart: startsAV1(payload)}
	default:
		return Facts{}
	}
}
