package sora

import (
	"context"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
)

// connection is one entry of ListChannelConnections, its keys in alphabetical
// order.
type connection struct {
	// Audio is false where the client turned audio off; so is Video.
	Audio     any    `json:"audio"`
	ChannelID string `json:"channel_id"`
	ClientID  string `json:"client_id"`
	// ConnectionID is what PauseRtpStream takes.
	ConnectionID string `json:"connection_id"`
	// CreatedTime is in microseconds since 1970.
	CreatedTime int64  `json:"created_time"`
	Multistream bool   `json:"multistream"`
	Role        string `json:"role"`
	SessionID   string `json:"session_id"`
	Simulcast   bool   `json:"simulcast"`
	Spotlight   bool   `json:"spotlight"`
	Video       any    `json:"video"`
}

// codec is what a connection sends or may receive of one kind.
type codec struct {
	// BitRate is in kbit/s; absent where the client named none.
	BitRate   uint32 `json:"bit_rate,omitempty"`
	CodecType string `json:"codec_type"`
}

// listConnections answers who is in a channel. The connections of a media server
// that is out of touch are listed as last heard of; that nobody is there is not
// said while one is.
func (h *Handler) listConnections(ctx context.Context, arguments arguments) (any, error) {
	channelID := arguments.text["channel_id"]
	const so = "who is connected is not known"
	channel, err := h.config.Replicas.Channel(ctx, channelID)
	if err != nil {
		return nil, h.unanswered(so, err)
	}
	if channel.Empty() && channel.OutOfTouch() {
		return nil, h.unanswered(so, live.ErrNotCurrent)
	}
	entries := []connection{}
	for _, c := range channel.Connections() {
		entries = append(entries, entryOf(channelID, c))
	}

	return entries, nil
}

func entryOf(channelID string, c *forwardingv1.Connection) connection {
	entry := connection{
		Audio:        false,
		ChannelID:    channelID,
		ClientID:     c.GetClientId(),
		ConnectionID: c.GetConnectionId(),
		CreatedTime:  c.GetCreatedTime().AsTime().UnixMicro(),
		Multistream:  true,
		Role:         roleName(c.GetRole()),
		SessionID:    c.GetSessionId(),
		Simulcast:    c.GetSimulcast(),
		Spotlight:    c.GetSpotlight(),
		Video:        false,
	}
	if audio := c.GetAudio(); audio != nil {
		entry.Audio = codec{audio.GetBitRate(), audio.GetCodecType()}
	}
	if video := c.GetVideo(); video != nil {
		entry.Video = codec{video.GetBitRate(), video.GetCodecType()}
	}

	return entry
}
