//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/pion/webrtc/v4"
)

const janusRoom = 1234

// janusMessage is any message of Janus', as far as it is read here.
type janusMessage struct {
	Janus       string `json:"janus"`
	Transaction string `json:"transaction"`
	Data        struct {
		ID uint64 `json:"id"`
	} `json:"data"`
	Error      json.RawMessage `json:"error"`
	PluginData struct {
		Data struct {
			Error        string `json:"error"`
			ErrorCode    int    `json:"error_code"`
			Participants []struct {
				ID        int  `json:"id"`
				Publisher bool `json:"publisher"`
			} `json:"participants"`
			Streams []struct {
				MID  string `json:"mid"`
				Type string `json:"type"`
			} `json:"streams"`
		} `json:"data"`
	} `json:"plugindata"`
	JSEP struct {
		SDP string `json:"sdp"`
	} `json:"jsep"`
}

// janusSession is one WebSocket; a participant has a handle for each direction.
type janusSession struct {
	participant
	socket       *websocket.Conn
	id           uint64
	transactions atomic.Uint64

	mu      sync.Mutex
	waiting map[string]chan janusMessage
}

// joinJanus joins the room, which the first sender makes, and returns once media
// can flow.
func joinJanus(ctx context.Context, p participant) error {
	socket, err := dial(ctx, "ws://"+p.Address, &websocket.DialOptions{Subprotocols: []string{"janus-protocol"}})
	if err != nil {
		return err
	}
	s := &janusSession{participant: p, socket: socket, waiting: map[string]chan janusMessage{}}
	go s.read()
	created, err := s.ask(ctx, map[string]any{"janus": "create"}, nil)
	if err != nil {
		return err
	}
	s.id = created.Data.ID
	go s.keepAlive()
	if p.source != nil {
		if err := s.publish(ctx); err != nil {
			return err
		}
	}
	if p.received != nil {
		return s.subscribe(ctx)
	}

	return nil
}

// read hands answers to whoever asked; acknowledgements are no answers.
func (s *janusSession) read() {
	for {
		var m janusMessage
		if err := wsjson.Read(s.lifetime, s.socket, &m); err != nil {
			// Whoever waits for an answer fails with it.
			if s.lifetime.Err() == nil {
				fmt.Fprintln(os.Stderr, "janus: the WebSocket ended:", err)
			}

			return
		}
		if m.Janus == "ack" {
			continue
		}
		s.mu.Lock()
		if answer := s.waiting[m.Transaction]; answer != nil {
			answer <- m
			delete(s.waiting, m.Transaction)
		}
		s.mu.Unlock()
	}
}

func (s *janusSession) keepAlive() {
	for sleep(s.lifetime, 20*time.Second) == nil {
		if _, err := s.ask(s.lifetime, map[string]any{"janus": "keepalive"}, nil); err != nil {
			return
		}
	}
}

func (s *janusSession) ask(ctx context.Context, request, body map[string]any) (janusMessage, error) {
	transaction := strconv.FormatUint(s.transactions.Add(1), 10)
	request["transaction"] = transaction
	if s.id != 0 {
		request["session_id"] = s.id
	}
	if body != nil {
		request["janus"], request["body"] = "message", body
	}
	answer := make(chan janusMessage, 1)
	if request["janus"] != "keepalive" { // Acknowledged only.
		s.mu.Lock()
		s.waiting[transaction] = answer
		s.mu.Unlock()
	}
	data, err := json.Marshal(request)
	if err != nil {
		return janusMessage{}, fmt.Errorf("write %v: %w", request["janus"], err)
	}
	// In one frame: Janus waits for ever for the end of a message whose last
	// fragment is empty, as wsjson makes it.
	if err := s.socket.Write(ctx, websocket.MessageText, data); err != nil {
		return janusMessage{}, fmt.Errorf("send %v: %w", request["janus"], err)
	}
	if request["janus"] == "keepalive" {
		return janusMessage{}, nil
	}
	select {
	case m := <-answer:
		if len(m.Error) > 0 {
			return m, fmt.Errorf("janus refused %v %v: %s", request["janus"], body["request"], m.Error)
		}
		if reason := m.PluginData.Data.Error; reason != "" && m.PluginData.Data.ErrorCode != janusRoomExists {
			return m, fmt.Errorf("janus refused %v: %s", body["request"], reason)
		}

		return m, nil
	case <-ctx.Done():
		return janusMessage{}, fmt.Errorf("wait for Janus' answer to %v: %w", request["janus"], context.Cause(ctx))
	}
}

// janusRoomExists is JANUS_VIDEOROOM_ERROR_ROOM_EXISTS.
const janusRoomExists = 427

func (s *janusSession) attach(ctx context.Context) (uint64, error) {
	attached, err := s.ask(ctx, map[string]any{"janus": "attach", "plugin": "janus.plugin.videoroom"}, nil)

	return attached.Data.ID, err
}

// feedID is what a sender is called in the room; 0 is no id there.
func feedID(index int) int { return index + 1 }

func (s *janusSession) publish(ctx context.Context) error {
	handle, err := s.attach(ctx)
	if err != nil {
		return err
	}
	room := map[string]any{
		"request": "create", "room": janusRoom, "publishers": 100, "bitrate": 0,
		"videocodec": "vp8", "audiocodec": "opus", "permanent": false, "fir_freq": 0,
	}
	if _, err := s.ask(ctx, map[string]any{"handle_id": handle}, room); err != nil {
		return err
	}
	join := map[string]any{"request": "join", "ptype": "publisher", "room": janusRoom, "id": feedID(s.index)}
	if _, err := s.ask(ctx, map[string]any{"handle_id": handle}, join); err != nil {
		return err
	}
	connection, err := newPeer(s.participant)
	if err != nil {
		return err
	}
	connected := watchConnected(connection)
	if _, err := addSource(connection, s.participant); err != nil {
		return err
	}
	if _, err := addVoice(connection, s.participant); err != nil {
		return err
	}
	sdp, err := makeOffer(ctx, connection)
	if err != nil {
		return err
	}
	answer, err := s.ask(ctx, map[string]any{
		"handle_id": handle, "jsep": map[string]any{"type": "offer", "sdp": sdp, "trickle": false},
	},
		map[string]any{"request": "publish"})
	if err != nil {
		return err
	}
	if err := connection.SetRemoteDescription(webrtc.SessionDescription{
		Type: webrtc.SDPTypeAnswer, SDP: answer.JSEP.SDP,
	}); err != nil {
		return fmt.Errorf("take the answer: %w", err)
	}

	return wait(ctx, "the publisher's connection", connected)
}

func (s *janusSession) subscribe(ctx context.Context) error {
	handle, err := s.attach(ctx)
	if err != nil {
		return err
	}
	if err := s.untilPublished(ctx, handle); err != nil {
		return err
	}
	var feeds []map[string]any
	for _, feed := range s.feeds {
		feeds = append(feeds, map[string]any{"feed": feedID(feed)})
	}
	attached, err := s.ask(ctx, map[string]any{"handle_id": handle},
		map[string]any{"request": "join", "ptype": "subscriber", "room": janusRoom, "streams": feeds})
	if err != nil {
		return err
	}
	if attached.JSEP.SDP == "" {
		return errors.New("janus made no offer")
	}
	connection, err := newPeer(s.participant)
	if err != nil {
		return err
	}
	connected := watchConnected(connection)
	sdp, err := answerOffer(ctx, connection, attached.JSEP.SDP)
	if err != nil {
		return err
	}
	if _, err := s.ask(ctx, map[string]any{
		"handle_id": handle, "jsep": map[string]any{"type": "answer", "sdp": sdp, "trickle": false},
	},
		map[string]any{"request": "start"}); err != nil {
		return err
	}
	for _, stream := range attached.PluginData.Data.Streams {
		if stream.Type == "video" {
			s.probe.holdJanus(&janusSubscription{session: s, handle: handle, videoMID: stream.MID})
		}
	}
	if err := wait(ctx, "the subscriber's connection", connected); err != nil || !s.paused {
		return err
	}
	var streams []map[string]any
	for _, stream := range attached.PluginData.Data.Streams {
		streams = append(streams, map[string]any{"mid": stream.MID, "send": false})
	}
	_, err = s.ask(ctx, map[string]any{"handle_id": handle}, map[string]any{"request": "configure", "streams": streams})

	return err
}

// untilPublished waits until everybody whom the participant receives publishes:
// Janus cannot subscribe to what is still to come.
func (s *janusSession) untilPublished(ctx context.Context, handle uint64) error {
	for {
		list, err := s.ask(ctx, map[string]any{"handle_id": handle},
			map[string]any{"request": "listparticipants", "room": janusRoom})
		if err != nil {
			return err
		}
		publishing := map[int]bool{}
		for _, other := range list.PluginData.Data.Participants {
			publishing[other.ID] = other.Publisher
		}
		missing := 0
		for _, feed := range s.feeds {
			if !publishing[feedID(feed)] {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("wait for %d senders to publish: %w", missing, err)
		}
	}
}
