package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/pion/webrtc/v4"
)

// maxMessageBytes bounds one message of the server; an SDP of hundreds of
// m-lines fits.
const maxMessageBytes = 8 << 20

// The messages that a client sends.
type (
	connectMessage struct {
		Type        string       `json:"type"`
		Role        Role         `json:"role"`
		ChannelID   string       `json:"channel_id"`
		ClientID    string       `json:"client_id,omitempty"`
		BundleID    string       `json:"bundle_id,omitempty"`
		SoraClient  string       `json:"sora_client"`
		Multistream bool         `json:"multistream"`
		Simulcast   bool         `json:"simulcast,omitempty"`
		RID         string       `json:"simulcast_request_rid,omitempty"`
		Spotlight   bool         `json:"spotlight,omitempty"`
		Number      int          `json:"spotlight_number,omitempty"`
		FocusRID    string       `json:"spotlight_focus_rid,omitempty"`
		UnfocusRID  string       `json:"spotlight_unfocus_rid,omitempty"`
		Metadata    any          `json:"metadata,omitempty"`
		Redirect    bool         `json:"redirect,omitempty"`
		Audio       audioMessage `json:"audio"`
		Video       videoMessage `json:"video"`
	}
	audioMessage struct {
		CodecType string `json:"codec_type"`
	}
	videoMessage struct {
		CodecType string `json:"codec_type"`
	}
	descriptionMessage struct {
		Type string `json:"type"`
		SDP  string `json:"sdp"`
	}
	candidateMessage struct {
		Type string `json:"type"`
		webrtc.ICECandidateInit
	}
	pongMessage struct {
		Type string `json:"type"`
	}
	disconnectMessage struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
	}
)

// serverMessage is any message of the server, as far as a bot reads it.
type serverMessage struct {
	Type         string `json:"type"`
	SDP          string `json:"sdp"`
	ConnectionID string `json:"connection_id"`
	ClientID     string `json:"client_id"`
	Version      string `json:"version"`
	Location     string `json:"location"`
}

// redirection is where a message sends a client; "": it does not.
func redirection(data []byte) string {
	var message serverMessage
	if json.Unmarshal(data, &message) != nil || message.Type != "redirect" {
		return ""
	}

	return message.Location
}

func newConnectMessage(config Config) connectMessage {
	message := connectMessage{
		Type: "connect", Role: config.Role,
		ChannelID: config.ChannelID, ClientID: config.ClientID, BundleID: config.BundleID,
		SoraClient: "Nagi bot", Multistream: true, Simulcast: config.Simulcast, RID: config.RID,
		Metadata: config.Metadata,
		Audio:    audioMessage{CodecType: "OPUS"},
		Video:    videoMessage{CodecType: "VP8"},
	}
	if s := config.Spotlight; s != nil {
		message.Spotlight, message.Number = true, s.Number
		message.FocusRID, message.UnfocusRID = s.FocusRID, s.UnfocusRID
	}

	return message
}

func (b *Bot) send(ctx context.Context, message any) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := wsjson.Write(ctx, b.socket, message); err != nil {
		return fmt.Errorf("send a signalling message: %w", err)
	}

	return nil
}

// readMessages handles what the server says until the socket closes, and then
// ends the bot.
func (b *Bot) readMessages() {
	for {
		_, data, err := b.socket.Read(b.ctx)
		if err != nil {
			b.end(b.causeOfEnd(err))

			return
		}
		if err := b.handle(data); err != nil {
			b.log.Error("signalling message not handled", "error", err)
			b.end(err)

			return
		}
	}
}

// ClosedError is the cause of a bot's end when the server closed its connection.
type ClosedError struct {
	// Code and Reason are those of docs/signaling.md, such as 1000 and
	// DISCONNECTED-API.
	Code   int
	Reason string
}

// Error returns code and reason.
func (e *ClosedError) Error() string {
	return fmt.Sprintf("the server closed the connection: code %d, reason %q", e.Code, e.Reason)
}

// causeOfEnd puts a closed socket into words.
func (b *Bot) causeOfEnd(err error) error {
	if b.notices.endExpected() {
		return ErrClosed
	}
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		return &ClosedError{Code: int(closed.Code), Reason: closed.Reason}
	}

	return fmt.Errorf("the connection to the server broke: %w", err)
}

func (b *Bot) handle(data []byte) error {
	var message serverMessage
	if err := json.Unmarshal(data, &message); err != nil {
		return fmt.Errorf("the server sent what is no JSON object: %w", err)
	}
	switch message.Type {
	case "offer":
		b.peer.identify(message.ConnectionID, message.ClientID)

		return b.answer(message.SDP, "answer")
	case "re-offer":
		return b.answer(message.SDP, "re-answer")
	case "ping":
		return b.send(b.ctx, pongMessage{Type: "pong"})
	case "notify":
		return b.takeNotification(data)
	default:
		b.log.Debug("signalling message of no interest", "type", message.Type)

		return nil
	}
}

func (b *Bot) answer(offer, answerType string) error {
	sdp, err := b.peer.answer(offer)
	if err != nil && b.peer.ended() {
		b.log.Debug("offer not answered, we are leaving", "error", err)

		return nil
	}
	if err != nil {
		return err
	}
	if err := b.send(b.ctx, descriptionMessage{Type: answerType, SDP: sdp}); err != nil {
		return err
	}
	// Candidates may follow only now: before the answer the server would have to
	// keep them.
	return b.peer.flushCandidates()
}

func (b *Bot) sendCandidate(candidate webrtc.ICECandidateInit) error {
	return b.send(b.ctx, candidateMessage{Type: "candidate", ICECandidateInit: candidate})
}

func (b *Bot) takeNotification(data []byte) error {
	n := Notification{Raw: data, Arrived: time.Now()}
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("the server sent a notify that cannot be read: %w", err)
	}
	b.notices.add(n)

	return nil
}
