package signaling

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Encoded is a message in JSON, made once for many clients. It must not be changed.
type Encoded []byte

// Encode makes a message that goes to many clients. The error says that it does
// not marshal.
func Encode(message any) (Encoded, error) {
	marshal := func() ([]byte, error) { return json.Marshal(message) }
	if notice, ok := message.(json.Marshaler); ok {
		marshal = notice.MarshalJSON // It is compact already; json.Marshal would look at every byte of it again.
	}
	text, err := marshal()
	if err != nil {
		return nil, fmt.Errorf("marshalling a message: %w", err)
	}

	return text, nil
}

// ConnectionCreated tells that a connection's media transport is up. The
// newcomer gets one too: it is what makes SDKs report themselves connected.
type ConnectionCreated struct {
	// Timestamp is when it happened; microseconds are sent.
	Timestamp time.Time `json:"-"`
	ConnectionState
	// Data are those who were in the channel before, each a Member that is encoded
	// once for all newcomers; in the newcomer's own copy only, where it is never nil.
	Data []Encoded `json:"-"`
}

// ConnectionDestroyed tells the others that a connection has left.
type ConnectionDestroyed struct {
	// Timestamp is when it happened; microseconds are sent.
	Timestamp time.Time `json:"-"`
	ConnectionState
}

// ConnectionState is what connection notifications say of the connection and of
// its channel.
type ConnectionState struct {
	Member
	ChannelID string `json:"channel_id"`
	SessionID string `json:"session_id"`
	// Minutes is how long the connection has existed.
	Minutes int `json:"minutes"`
	Counts
}

// Member is what notifications say of one connection.
type Member struct {
	Role         Role   `json:"role"`
	ClientID     string `json:"client_id"`
	BundleID     string `json:"bundle_id"`
	ConnectionID string `json:"connection_id"`
	// Audio and Video tell whether the client turned that kind on.
	Audio bool `json:"audio"`
	Video bool `json:"video"`
	// Metadata is the client's signaling_notify_metadata, nil if it gave none.
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// Counts are the connections of a channel: after the newcomer came, or after the
// leaving one left.
type Counts struct {
	Connections         int `json:"channel_connections"`
	SendrecvConnections int `json:"channel_sendrecv_connections"`
	SendonlyConnections int `json:"channel_sendonly_connections"`
	RecvonlyConnections int `json:"channel_recvonly_connections"`
}

// Add counts one more connection with that role.
func (c *Counts) Add(role forwardingv1.Role) {
	c.Connections++
	switch role {
	case forwardingv1.Role_ROLE_SENDRECV:
		c.SendrecvConnections++
	case forwardingv1.Role_ROLE_SENDONLY:
		c.SendonlyConnections++
	case forwardingv1.Role_ROLE_RECVONLY:
		c.RecvonlyConnections++
	}
}

// RTPStream names an edge and kinds of its media.
type RTPStream struct {
	// Timestamp is when it happened; microseconds are sent.
	Timestamp        time.Time `json:"-"`
	ChannelID        string    `json:"channel_id"`
	RecvConnectionID string    `json:"recv_connection_id"`
	SendConnectionID string    `json:"send_connection_id"`
	// StreamID is the MediaStream id at the receiver: the sender's connection id.
	StreamID string `json:"stream_id"`
	// Kinds are those whose state changed, as "audio" and "video".
	Kinds []Kind `json:"kinds"`
	// Reason is why they are paused, as whoever paused them put it; empty where
	// nothing was said, and in RTPStreamResumed.
	Reason string `json:"reason,omitempty"`
}

// RTPStreamPaused tells a receiver that the kinds do not come any more, and why;
// or, told again, that they still do not, for another reason.
type RTPStreamPaused RTPStream

// RTPStreamResumed tells a receiver that the kinds come again, video from its
// next keyframe on.
type RTPStreamResumed RTPStream

// RTPStreamRejected tells a receiver that the kinds do not come, since its answers reject
// the codec that they are sent in, or do not receive their m-lines.
type RTPStreamRejected struct {
	RTPStream
	// CodecType is in the protocol's spelling, such as AV1.
	CodecType string `json:"codec_type"`
}

// Focus names who comes into focus in a spotlight channel, or goes out of it.
type Focus struct {
	// Timestamp is when it happened; microseconds are sent.
	Timestamp    time.Time `json:"-"`
	ChannelID    string    `json:"channel_id"`
	ClientID     string    `json:"client_id"`
	ConnectionID string    `json:"connection_id"`
	// Audio and Video tell whether the client turned that kind on.
	Audio bool `json:"audio"`
	Video bool `json:"video"`
	// Fixed would tell that it stays so whoever speaks, which nobody can ask for.
	Fixed bool `json:"fixed"`
}

// SpotlightFocused tells everybody that a connection is in focus.
type SpotlightFocused Focus

// SpotlightUnfocused tells everybody that a connection is not in focus any more.
type SpotlightUnfocused Focus

// MarshalJSON adds type, event_type and timestamp.
func (n ConnectionCreated) MarshalJSON() ([]byte, error) {
	type fields ConnectionCreated

	text, err := json.Marshal(struct {
		event
		fields
	}{newEvent("connection.created", n.Timestamp), fields(n)})
	if err != nil || n.Data == nil {
		return text, err
	}
	text = append(bytes.TrimSuffix(text, []byte{'}'}), `,"data":[`...)
	for i, member := range n.Data {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, member...)
	}

	return append(text, "]}"...), nil
}

// MarshalJSON adds type, event_type and timestamp.
func (n ConnectionDestroyed) MarshalJSON() ([]byte, error) {
	type fields ConnectionDestroyed

	return json.Marshal(struct {
		event
		fields
	}{newEvent("connection.destroyed", n.Timestamp), fields(n)})
}

// MarshalJSON adds type, event_type and timestamp.
func (n RTPStreamPaused) MarshalJSON() ([]byte, error) {
	type fields RTPStreamPaused

	return json.Marshal(struct {
		event
		fields
	}{newEvent("rtp-stream.paused", n.Timestamp), fields(n)})
}

// MarshalJSON adds type, event_type and timestamp.
func (n RTPStreamResumed) MarshalJSON() ([]byte, error) {
	type fields RTPStreamResumed

	return json.Marshal(struct {
		event
		fields
	}{newEvent("rtp-stream.resumed", n.Timestamp), fields(n)})
}

// MarshalJSON adds type, event_type and timestamp.
func (n RTPStreamRejected) MarshalJSON() ([]byte, error) {
	type fields RTPStreamRejected

	return json.Marshal(struct {
		event
		fields
	}{newEvent("rtp-stream.rejected", n.Timestamp), fields(n)})
}

// MarshalJSON adds type, event_type and timestamp.
func (n SpotlightFocused) MarshalJSON() ([]byte, error) {
	type fields SpotlightFocused

	return json.Marshal(struct {
		event
		fields
	}{newEvent("spotlight.focused", n.Timestamp), fields(n)})
}

// MarshalJSON adds type, event_type and timestamp.
func (n SpotlightUnfocused) MarshalJSON() ([]byte, error) {
	type fields SpotlightUnfocused

	return json.Marshal(struct {
		event
		fields
	}{newEvent("spotlight.unfocused", n.Timestamp), fields(n)})
}

// event is what every notification begins with.
type event struct {
	Type      string `json:"type"`
	EventType string `json:"event_type"`
	Timestamp string `json:"timestamp"`
}

func newEvent(eventType string, at time.Time) event {
	return event{
		Type:      "notify",
		EventType: eventType,
		Timestamp: at.UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
	}
}

// Role is a role that marshals to the protocol's spelling.
type Role forwardingv1.Role

// MarshalText returns sendrecv, sendonly or recvonly.
func (r Role) MarshalText() ([]byte, error) {
	switch forwardingv1.Role(r) {
	case forwardingv1.Role_ROLE_SENDRECV:
		return []byte("sendrecv"), nil
	case forwardingv1.Role_ROLE_SENDONLY:
		return []byte("sendonly"), nil
	case forwardingv1.Role_ROLE_RECVONLY:
		return []byte("recvonly"), nil
	default:
		return []byte("unspecified"), nil
	}
}

// Kind is a kind that marshals to the protocol's spelling.
type Kind forwardingv1.Kind

// MarshalText returns audio or video.
func (k Kind) MarshalText() ([]byte, error) {
	switch forwardingv1.Kind(k) {
	case forwardingv1.Kind_KIND_AUDIO:
		return []byte("audio"), nil
	case forwardingv1.Kind_KIND_VIDEO:
		return []byte("video"), nil
	default:
		return []byte("unspecified"), nil
	}
}
