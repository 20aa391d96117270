//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// channelClient is a client that has what a media server needs of one: it signals, answers
// each offer, proves its path and shakes hands. It sends no media, and its answers
// are made line by line of the offers, since one core has to play all clients.
type channelClient struct {
	tally *channelTally
	role  string

	socket    *websocket.Conn
	transport *channelTransport
	answers   channelAnswers
	identity  *dtlsIdentity

	streams   atomic.Int64  // That the latest answered offer has for it.
	id        string        // Its connection id.
	connected chan struct{} // Closed when the server says that its media is.
	ended     chan struct{} // Closed when nothing more comes of the server.
	leaving   atomic.Bool
	end       sync.Once
}

// channelTally is what all clients of a channel count together.
type channelTally struct {
	reoffers, lines, notified, messages atomic.Int64
	failure                             atomic.Pointer[error] // The first one.
}

func (t *channelTally) fail(err error) { t.failure.CompareAndSwap(nil, &err) }

// channelMessage is what of the server's other messages is of interest.
type channelMessage struct {
	Type         string `json:"type"`
	ConnectionID string `json:"connection_id"`
	EventType    string `json:"event_type"`
	MID          struct {
		Audio string `json:"audio"`
		Video string `json:"video"`
	} `json:"mid"`
}

// joinChannel returns once the server says that the client's media is connected.
func joinChannel(
	ctx context.Context, address, role, name string, identity *dtlsIdentity, tally *channelTally,
) (*channelClient, error) {
	socket, err := dial(ctx, "ws://"+address+"/signaling", nil)
	if err != nil {
		return nil, err
	}
	c := &channelClient{
		tally: tally, role: role, socket: socket, identity: identity,
		connected: make(chan struct{}), ended: make(chan struct{}),
	}
	connect := map[string]any{
		"type": "connect", "role": role, "channel_id": channelID, "client_id": name,
		"sora_client": "Nagi bench", "multistream": true,
		"audio": map[string]any{"codec_type": "OPUS"}, "video": map[string]any{"codec_type": "VP8"},
	}
	if err := wsjson.Write(ctx, socket, connect); err != nil {
		return nil, fmt.Errorf("send connect: %w", err)
	}
	go c.listen(context.WithoutCancel(ctx))
	select {
	case <-c.connected:
		return c, nil
	case <-c.ended:
	case <-ctx.Done():
	}
	c.close()

	return nil, errors.Join(errors.New("the client was not connected"), context.Cause(ctx))
}

// listen answers the server until the connection ends, which is a failure unless
// the client leaves.
func (c *channelClient) listen(ctx context.Context) {
	defer close(c.ended)
	for {
		_, text, err := c.socket.Read(ctx)
		if err == nil {
			c.tally.messages.Add(1)
			err = c.take(ctx, text)
		}
		if err != nil {
			if !c.leaving.Load() {
				c.tally.fail(fmt.Errorf("a client ended: %w", err))
			}

			return
		}
	}
}

func (c *channelClient) take(ctx context.Context, text []byte) error {
	if bytes.HasPrefix(text, []byte(`{"type":"re-offer"`)) {
		return c.answer(ctx, text, "re-answer")
	}
	var m channelMessage
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	switch m.Type {
	case "offer":
		var err error
		if c.transport, err = openChannelTransport(text, c.identity); err != nil {
			return err
		}
		c.id, c.answers = m.ConnectionID,
			channelAnswers{transport: c.transport.description(), mids: [2]string{m.MID.Audio, m.MID.Video}}
		if err := c.answer(ctx, text, "answer"); err != nil {
			return err
		}
		c.transport.connect(c.tally)
	case "ping":
		return wsjson.Write(ctx, c.socket, map[string]string{"type": "pong"})
	case "notify":
		c.tally.notified.Add(1)
		if m.EventType == "connection.created" && m.ConnectionID == c.id {
			close(c.connected)
		}
	}

	return nil
}

// answer answers the SDP in an offer.
func (c *channelClient) answer(ctx context.Context, message []byte, kind string) error {
	_, sdp, _ := bytes.Cut(message, []byte(`"sdp":"`))
	sdp, _, _ = bytes.Cut(sdp, []byte{'"'})
	answer, lines, streams := c.answers.answer(sdp)
	if kind == "re-answer" {
		c.tally.reoffers.Add(1)
		c.tally.lines.Add(int64(lines))
	}
	text := slices.Concat([]byte(`{"type":"`+kind+`","sdp":"`), answer, []byte(`"}`))
	if err := c.socket.Write(ctx, websocket.MessageText, text); err != nil {
		return fmt.Errorf("send %s: %w", kind, err)
	}
	c.streams.Store(int64(streams))

	return nil
}

// close leaves the channel and returns when the server has let the client go.
func (c *channelClient) close() {
	c.end.Do(func() {
		c.leaving.Store(true)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = wsjson.Write(ctx, c.socket, map[string]string{"type": "disconnect", "reason": "NO-ERROR"})
		select {
		case <-c.ended:
		case <-ctx.Done():
		}
		_ = c.socket.CloseNow()
		<-c.ended
		if c.transport != nil {
			c.transport.close()
		}
	})
}
