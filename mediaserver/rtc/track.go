package rtc

import (
	"fmt"
	"strings"

	"github.com/pion/webrtc/v4"
)

// mimeType is what downlinks of a kind carry.
func mimeType(kind webrtc.RTPCodecType) string {
	if kind == webrtc.RTPCodecTypeAudio {
		return webrtc.MimeTypeOpus
	}

	return webrtc.MimeTypeVP8
}

// track is a downlink as Pion sees it.
type track struct {
	downlink *Downlink
	kind     webrtc.RTPCodecType
}

// Bind is called once, when the stream's offer has been answered.
func (t *track) Bind(context webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, codec := range context.CodecParameters() {
		if strings.EqualFold(codec.MimeType, mimeType(t.kind)) {
			t.downlink.pending = binding{
				stream:      context.WriteStream(),
				ssrc:        uint32(context.SSRC()),
				payloadType: uint8(codec.PayloadType),
			}
			close(t.downlink.negotiated)

			return codec, nil
		}
	}

	return webrtc.RTPCodecParameters{}, fmt.Errorf("%s: %w", mimeType(t.kind), webrtc.ErrUnsupportedCodec)
}

// Unbind is called when the stream is removed or the peer closes.
func (t *track) Unbind(webrtc.TrackLocalContext) error {
	t.downlink.binding.Store(nil)

	return nil
}

func (t *track) ID() string                { return t.downlink.trackID }
func (t *track) RID() string               { return "" }
func (t *track) StreamID() string          { return t.downlink.streamID }
func (t *track) Kind() webrtc.RTPCodecType { return t.kind }
