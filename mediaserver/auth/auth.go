// Package auth knows who may be a client: it asks an authority of the user's, a webhook
// such as Sora's or the signature of a token. It knows neither WebSockets nor media.
package auth

import (
	"context"
	"encoding/json"
	"net/netip"
)

// Authority decides who may connect, and as what.
type Authority interface {
	// Decide returns what takes the place of what the client asks for. The error is a
	// *Refusal when the client may not connect, and a *Failure when nobody can say;
	// anything else means that ctx has ended. No error has a secret of the client's.
	Decide(ctx context.Context, request Request) (Answer, error)
}

// Request is what a client asks for, in the words of the request of Sora's auth webhook.
type Request struct {
	// Timestamp (RFC 3339, UTC, microseconds) and NodeName are who asks the authority and
	// when: a Webhook sets them.
	Timestamp string `json:"timestamp"`
	NodeName  string `json:"node_name"`
	// From is the network that the client comes from. Nobody is told it.
	From netip.Prefix `json:"-"`

	Role         string `json:"role"`
	ChannelID    string `json:"channel_id"`
	ClientID     string `json:"client_id"`
	BundleID     string `json:"bundle_id"`
	ConnectionID string `json:"connection_id"`
	// Metadata is what the client offers for its authentication; it may hold secrets.
	Metadata json.RawMessage `json:"metadata,omitempty"`

	Audio          bool   `json:"audio"`
	AudioCodecType string `json:"audio_codec_type,omitempty"`
	AudioBitRate   int    `json:"audio_bit_rate,omitempty"` // kbit/s
	Video          bool   `json:"video"`
	VideoCodecType string `json:"video_codec_type,omitempty"`
	VideoBitRate   int    `json:"video_bit_rate,omitempty"` // kbit/s

	Multistream bool `json:"multistream"`
	Simulcast   bool `json:"simulcast"`
	Spotlight   bool `json:"spotlight"`

	DataChannelSignaling      bool `json:"data_channel_signaling"`
	IgnoreDisconnectWebSocket bool `json:"ignore_disconnect_websocket"`

	// These count who is in the channel, the client not among them.
	Connections         int `json:"channel_connections"`
	SendrecvConnections int `json:"channel_sendrecv_connections"`
	SendonlyConnections int `json:"channel_sendonly_connections"`
	RecvonlyConnections int `json:"channel_recvonly_connections"`

	SoraClient SoraClient `json:"sora_client"`
}

// SoraClient is what a client says of its software.
type SoraClient struct {
	Raw         string `json:"raw,omitempty"`
	Environment string `json:"environment,omitempty"`
	Libwebrtc   string `json:"libwebrtc,omitempty"`
}

// Answer has the fields that an authority decides, by the names of Sora's webhook, in
// UTF-8. None is null, and none says whether the client is allowed, since it is.
type Answer map[string]json.RawMessage

// Refusal is an authority's no.
type Refusal struct {
	// Reason is what the authority would have the client told; empty: no more than that
	// it is refused.
	Reason string
	// Detail is for the operator.
	Detail string
}

// Error tells both.
func (r *Refusal) Error() string {
	text := "the client is refused"
	for _, why := range []string{r.Reason, r.Detail} {
		if why != "" {
			text += ": " + why
		}
	}

	return text
}

// Failure says that an authority could not be asked, or not be understood.
type Failure struct {
	// Cause is one of this package's, for metrics.
	Cause string
	// Detail is for the operator: what happened, and what mends it.
	Detail string
}

// Causes of failures.
const (
	CauseBusy        = "busy"        // too many clients wait for it
	CauseTimeout     = "timeout"     // it took too long
	CauseUnreachable = "unreachable" // no answer came
	CauseStatus      = "status"      // the answer's status is not 200 to 299
	CauseAnswer      = "answer"      // the answer makes no sense
)

// Error tells what happened.
func (f *Failure) Error() string { return f.Detail }
