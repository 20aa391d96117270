package bot

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// server is the other end of one bot's signalling and media: a real WebSocket
// and a real peer connection, without any forwarding between bots.
type server struct {
	t          *testing.T
	http       *httptest.Server
	connection *webrtc.PeerConnection

	connected chan struct{}           // Closed when media can flow.
	packets   chan *rtp.Packet        // All that the bot publishes.
	messages  chan clientMessage      // All that the bot says, answers and candidates apart.
	socket    chan *websocket.Conn    // The bot's socket, once.
	answers   chan descriptionMessage // Answers taken.
	work      sync.WaitGroup
}

type clientMessage struct {
	Type      string                  `json:"type"`
	SDP       string                  `json:"sdp"`
	Role      Role                    `json:"role"`
	ChannelID string                  `json:"channel_id"`
	ClientID  string                  `json:"client_id"`
	Reason    string                  `json:"reason"`
	Candidate json.RawMessage         `json:"candidate"`
	init      webrtc.ICECandidateInit `json:"-"`
}

func newServer(t *testing.T) *server {
	t.Helper()
	api, err := newAPI()
	if err != nil {
		t.Fatal(err)
	}
	connection, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		t: t, connection: connection,
		connected: make(chan struct{}), packets: make(chan *rtp.Packet, 10000),
		messages: make(chan clientMessage, 100), socket: make(chan *websocket.Conn, 1),
		answers: make(chan descriptionMessage, 10),
	}
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			close(s.connected)
		}
	})
	connection.OnTrack(s.readTrack)
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		if err := ClosePeer(connection); err != nil {
			t.Error(err)
		}
		s.http.Close()
		s.work.Wait()
	})

	return s
}

func (s *server) url() string { return strings.Replace(s.http.URL, "http", "ws", 1) }

func (s *server) readTrack(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		select {
		case s.packets <- packet:
		default:
		}
	}
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.work.Add(1)
	defer s.work.Done()
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		s.t.Error(err)

		return
	}
	defer func() { _ = socket.CloseNow() }()
	s.socket <- socket
	for {
		var message clientMessage
		_, data, err := socket.Read(r.Context())
		if err != nil {
			return
		}
		if err := json.Unmarshal(data, &message); err != nil {
			s.t.Errorf("the bot sent %q: %v", data, err)

			return
		}
		if message.Type == "candidate" {
			if err := json.Unmarshal(data, &message.init); err != nil {
				s.t.Error(err)
			}
		}
		s.take(r.Context(), socket, message)
	}
}

func (s *server) take(ctx context.Context, socket *websocket.Conn, message clientMessage) {
	switch message.Type {
	case "connect":
		s.offerUplinks(ctx, socket)
	case "answer", "re-answer":
		err := s.connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: message.SDP})
		if err != nil {
			s.t.Error(err)
		}
		s.answers <- descriptionMessage{Type: message.Type, SDP: message.SDP}

		return
	case "candidate":
		if err := s.connection.AddICECandidate(message.init); err != nil {
			s.t.Error(err)
		}

		return
	case "disconnect":
		defer func() { _ = socket.Close(websocket.StatusNormalClosure, "TYPE-DISCONNECT") }()
	}
	s.messages <- message
}

func (s *server) offerUplinks(ctx context.Context, socket *websocket.Conn) {
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		receiveOnly := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
		_, err := s.connection.AddTransceiverFromKind(kind, receiveOnly)
		if err != nil {
			s.t.Error(err)
		}
	}
	s.write(ctx, socket, map[string]any{
		"type": "offer", "sdp": s.offer(), "connection_id": "SELF", "client_id": "client",
		"config": map[string]any{"iceServers": []any{}},
	})
}

// offer makes an offer that holds all candidates.
func (s *server) offer() string {
	offer, err := s.connection.CreateOffer(nil)
	if err != nil {
		s.t.Error(err)

		return ""
	}
	gathered := webrtc.GatheringCompletePromise(s.connection)
	if err := s.connection.SetLocalDescription(offer); err != nil {
		s.t.Error(err)

		return ""
	}
	<-gathered

	return s.connection.LocalDescription().SDP
}

func (s *server) write(ctx context.Context, socket *websocket.Conn, message any) {
	if err := wsjson.Write(ctx, socket, message); err != nil {
		s.t.Error(err)
	}
}

func (s *server) requestKeyframe(ssrc uint32) {
	if err := s.connection.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}); err != nil {
		s.t.Error(err)
	}
}

// receive takes the next value from a channel, or fails.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}
