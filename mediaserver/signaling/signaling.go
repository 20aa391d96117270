// Package signaling speaks the server's side of Sora's WebSocket protocol. It
// knows neither RTP nor SDP: what the messages mean for media is the business of
// a Channels. docs/signaling.md lists messages, limits and close reasons.
package signaling

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"

	"github.com/coder/websocket"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

// Channels lets clients into channels.
type Channels interface {
	// Join makes a connection for client. It may return a *CloseError, which is
	// what the client is told then. The client's methods may be called from now
	// on until the session's Leave has returned.
	Join(ctx context.Context, request Connect, client Client) (Session, error)
	// Counts counts who is in a channel.
	Counts(channelID string) Counts
}

// Peers knows where channels are hosted; peers.Peers is one.
type Peers interface {
	// Find tells where a channel is hosted, or is to be; nil: here.
	Find(ctx context.Context, channelID string, passed bool, failed ...string) (*peers.Place, error)
	// Enter makes sure that a channel is hosted here until leave is called.
	Enter(
		ctx context.Context, channelID string, passed bool, evict func(),
	) (leave func(), elsewhere *peers.Place, err error)
	// Place is a media server by its name; nil: none is known.
	Place(name string) *peers.Place
	// Dial opens a WebSocket to a media server for a client that is passed on.
	Dial(ctx context.Context, place *peers.Place, pass peers.Pass) (*websocket.Conn, error)
	// Verify returns the pass that a request shows, nil if it shows none.
	Verify(r *http.Request) (*peers.Pass, error)
	// Known tells whether a network is one that media servers come from.
	Known(from netip.Prefix) bool
}

// Session is one connection in its channel. Apart from Leave, which may overlap
// with nothing else, its methods are called one after another.
type Session interface {
	// Offer makes the first offer.
	Offer(ctx context.Context) (Offer, error)
	// Reoffer makes a later offer; the one before has been answered.
	Reoffer(ctx context.Context) (sdp string, err error)
	// Answer takes the answer to the latest offer. An error that is no
	// *CloseError means that the SDP was unfit.
	Answer(ctx context.Context, sdp string) error
	// Candidate takes one ICE candidate, maybe before the answer, maybe empty
	// (the last one), maybe without an m-line (the first one is meant). A
	// candidate that gives an error is dropped and counted.
	Candidate(candidate string, sdpMid *string, sdpMLineIndex *uint16) error
	// Leave is called once, as soon as the client is lost or dismissed, with the
	// close reason. It blocks until the connection has left the channel.
	Leave(reason string)
}

// Client is what a channel may tell a client. No method blocks or fails, so all
// may be called with locks held: messages are queued, and a client that lets the
// queue overflow is closed.
type Client interface {
	// Notify sends a message such as ConnectionCreated, which must marshal to a
	// JSON object whose type is notify, or one that is Encoded.
	Notify(message any)
	// Renegotiate asks for a re-offer as soon as none is outstanding. Any number
	// of calls until then make one re-offer.
	Renegotiate()
	// Close dismisses the client. The first call counts; messages sent before it
	// go out first.
	Close(code int, reason string)
}

// Connect is a client's first message, validated; once the client is admitted, with what
// the authority has decided in place of what the client said.
type Connect struct {
	// ConnectionID is what the connection is called, once the client is admitted.
	ConnectionID string

	Role      forwardingv1.Role
	ChannelID string
	// ClientID and BundleID are empty where the client left the choice to the
	// server: the connection id then.
	ClientID string
	BundleID string
	// Audio and Video are nil where the client turned that kind off.
	Audio *Media
	Video *Media
	// Simulcast: the client sends its video in several sizes at a time, named by RIDs.
	Simulcast bool
	// RequestRID is which of them the client wants of the others', one of RIDs or
	// RIDNone; empty: what suits it best.
	RequestRID string
	// Spotlight is nil where the client wants everybody alike.
	Spotlight *Spotlight
	// Encodings are those that an authority has the client send of simulcast, nil if it
	// says nothing.
	Encodings []Encoding
	// Metadata is what the client offers for its authentication, nil if nothing, and once it is admitted.
	Metadata json.RawMessage
	// OfferMetadata is what the authority has the client told with its offer, nil if nothing.
	OfferMetadata json.RawMessage
	// NotifyMetadata is what the others shall be shown with its notifications,
	// nil if nothing.
	NotifyMetadata json.RawMessage
	// SoraClient names the client's library, for logs and the authority.
	SoraClient string

	// Redirected tells that the client has been redirected here.
	Redirected bool

	// fields are all of the message, and text is how it was said, until the client is admitted.
	fields object
	text   []byte
}

// Media is what a client wants of one kind.
type Media struct {
	// CodecType is the codec in the protocol's spelling, such as VP9 or OPUS; never empty.
	CodecType string
	// Profile is that of the codec as SDP spells it (codecs.Codec.Format), empty where the
	// client named none.
	Profile string
	// BitRate is in kbit/s, 0 where the client named none.
	BitRate int
	// Opus is what the client wants of that codec; zero for video.
	Opus Opus
}

// Opus is what a client wants of Opus (RFC 7587 section 6.1), the protocol's
// defaults where it named nothing.
type Opus struct {
	Stereo, SpropStereo, UseInbandFEC, UseDTX bool
	// MinPTime and PTime are in milliseconds, MaxPlaybackRate is in Hz; 0 where it
	// named none and there is no default.
	MinPTime, PTime, MaxPlaybackRate int
}

// Offer is what a session says in the first offer.
type Offer struct {
	// SDP holds all candidates of the server.
	SDP          string
	ChannelID    string
	ConnectionID string
	ClientID     string
	BundleID     string
	SessionID    string
	// AudioMID and VideoMID are the m-lines that the client is to send on, empty
	// where there is none.
	AudioMID string
	VideoMID string
}
