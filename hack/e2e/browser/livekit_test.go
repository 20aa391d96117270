//go:build network

package browser

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/internal/ports"
)

const (
	liveKitKey    = "bench"
	liveKitSecret = "a-secret-of-no-worth-on-loopback-only"
	// liveKitProtocol is the signalling version with one connection each way.
	liveKitProtocol = "15"
)

// startLiveKit starts a server and returns its two addresses.
func startLiveKit(t *testing.T, synced bool) (signaling, media string) {
	t.Helper()
	binary, err := filepath.Abs("../../../bin/bench/server")
	if err != nil {
		t.Fatal(err)
	}
	held, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.Close() })
	udp := freePort(t)
	config := fmt.Sprintf(`port: %d
bind_addresses: [127.0.0.1]
keys: {%s: %s}
logging: {level: error}
rtc: {udp_port: %s, tcp_port: 0, node_ip: 127.0.0.1, use_external_ip: false, enable_loopback_candidate: true}
room: {sync_streams: %t}
`, held.Address().Port, liveKitKey, liveKitSecret, udp, synced)
	file := filepath.Join(t.TempDir(), "livekit.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, "--config", file)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := command.Start(); err != nil {
		t.Fatalf("starting %s (`make bench-network` builds it): %v", binary, err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill() // In an orderly end it would wait for its clients.
		_ = command.Wait()
	})
	signaling = held.Address().String()
	eventually(t, "LiveKit listens", func() error {
		conn, err := net.Dial("tcp", signaling)
		if err != nil {
			return err
		}

		return conn.Close()
	})

	return signaling, "127.0.0.1:" + udp
}

// freePort is a UDP port that nobody had just now: LiveKit tells nobody which it has chosen.
func freePort(t *testing.T) (port string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, port, _ = net.SplitHostPort(conn.LocalAddr().String())

	return port
}

// liveKitToken lets somebody into the room (RFC 7519, HS256).
func liveKitToken(t *testing.T, identity string, receives bool) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{
		"iss": liveKitKey, "sub": identity, "nbf": time.Now().Unix() - 60, "exp": time.Now().Unix() + 3600,
		"video": map[string]any{"roomJoin": true, "room": "network", "canSubscribe": receives},
	})
	if err != nil {
		t.Fatal(err)
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(claims)
	code := hmac.New(sha256.New, []byte(liveKitSecret))
	code.Write([]byte(signed))

	return signed + "." + base64.RawURLEncoding.EncodeToString(code.Sum(nil))
}

// joinLiveKit is joinNagi with LiveKit in our place, and its own client library, which is to choose layers by bandwidth
// alone, as ours does. synced: it has its receivers show pictures in time with the sound, as ours has.
func joinLiveKit(synced bool) func(t *testing.T, w *ways, mine *way, sound bool) viewer {
	return func(t *testing.T, w *ways, mine *way, sound bool) viewer {
		return joinLiveKitAs(t, w, mine, synced, sound)
	}
}

func joinLiveKitAs(t *testing.T, w *ways, mine *way, synced, sound bool) viewer {
	signaling, media := startLiveKit(t, synced)
	w.serve(media)
	relay := w.inside.LocalAddr().String()
	publishToLiveKit(t, signaling, relay)
	w.newcomers(mine)
	v := viewer{openReady(t, newBrowser(t), servePage(t, "livekit.html", map[string]string{
		"quality.js": "quality.js", "livekit-client.js": "node_modules/livekit-client/dist/livekit-client.esm.mjs",
	}))}
	join := fmt.Sprintf("(hear(%t), detour(%q), join(%q, %q))", sound, relay, "ws://"+signaling,
		liveKitToken(t, "receiver", true))
	if err := evaluate(t, v.tab, join, new(any)); err != nil {
		t.Fatalf("the receiver cannot join: %v", err)
	}

	return v
}

// liveKitMessage is what a sender says and hears: of the protocol's messages, as JSON, what is needed to publish.
type liveKitMessage struct {
	AddTrack       *liveKitTrack       `json:"addTrack,omitempty"`
	Offer          *liveKitDescription `json:"offer,omitempty"`
	TrackPublished *struct{}           `json:"trackPublished,omitempty"`
	Answer         *liveKitDescription `json:"answer,omitempty"`
	Trickle        *struct {
		Candidate string `json:"candidateInit"`
		Target    string `json:"target"` // the sender's, where it is absent
	} `json:"trickle,omitempty"`
}

type liveKitDescription struct {
	Type string `json:"type"`
	SDP  string `json:"sdp"`
}

type liveKitTrack struct {
	ID     string         `json:"cid"`
	Type   string         `json:"type"`
	Source string         `json:"source"`
	Width  int            `json:"width,omitempty"`
	Height int            `json:"height,omitempty"`
	Layers []liveKitLayer `json:"layers,omitempty"`
}

type liveKitLayer struct {
	Quality string `json:"quality"`
	Width   int    `json:"width"`
	Height  int    `json:"height"`
	Bitrate int    `json:"bitrate"`
}

// liveKitSender publishes what a bot publishes to us, by way of the relay.
type liveKitSender struct {
	relay       string
	socket      *websocket.Conn
	publication *bot.Publication
	offer       string
	tracks      int // that are not admitted yet
	answered    bool
	candidates  []webrtc.ICECandidateInit // until the answer is there
}

func publishToLiveKit(t *testing.T, signaling, relay string) {
	t.Helper()
	s := &liveKitSender{relay: relay}
	query := url.Values{
		"access_token":   {liveKitToken(t, "sender", false)},
		"protocol":       {liveKitProtocol},
		"sdk":            {"go"},
		"auto_subscribe": {"0"},
	}
	var err error
	if s.socket, _, err = websocket.Dial(t.Context(), "ws://"+signaling+"/rtc?"+query.Encode(), nil); err != nil {
		t.Fatal(err)
	}
	s.socket.SetReadLimit(1 << 20)
	if s.publication, err = bot.NewPublication(t.Context(), pictures(t)); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	t.Cleanup(func() {
		_ = s.socket.CloseNow()
		reading.Wait()
		_ = s.publication.Close()
	})
	if err := s.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	reading.Go(func() { s.read(t.Context(), sync.OnceFunc(func() { answered <- nil }), answered) })
	select {
	case err := <-answered:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(deadline):
		t.Fatal("LiveKit does not answer the sender's offer")
	}
}

// begin asks for admission of what is to be published.
func (s *liveKitSender) begin(ctx context.Context) (err error) {
	if s.offer, err = s.publication.Offer(); err != nil {
		return err
	}
	tracks := []liveKitTrack{
		{ID: "audio", Type: "AUDIO", Source: "MICROPHONE"},
		{ID: "video", Type: "VIDEO", Source: "CAMERA", Width: 960, Height: 540, Layers: []liveKitLayer{
			{"LOW", 240, 135, 150_000}, {"MEDIUM", 480, 270, 450_000}, {"HIGH", 960, 540, 1_200_000},
		}},
	}
	s.tracks = len(tracks)
	for _, track := range tracks {
		if err := wsjson.Write(ctx, s.socket, liveKitMessage{AddTrack: &track}); err != nil {
			return err
		}
	}

	return nil
}

// read takes what the server says until the socket is closed.
func (s *liveKitSender) read(ctx context.Context, answered func(), failed chan<- error) {
	for {
		kind, text, err := s.socket.Read(ctx)
		if err == nil && kind != websocket.MessageText { // As what it says before it has heard JSON.
			continue
		}
		var m liveKitMessage
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if err == nil {
			err = s.take(ctx, m)
		}
		if err != nil {
			select {
			case failed <- err:
			default: // It was answered, and is over.
			}

			return
		}
		if s.answered {
			answered()
		}
	}
}

// take takes one message.
func (s *liveKitSender) take(ctx context.Context, m liveKitMessage) error {
	switch {
	case m.TrackPublished != nil:
		if s.tracks--; s.tracks == 0 {
			offer := &liveKitDescription{"offer", hidden.ReplaceAllString(s.offer, "")}

			return wsjson.Write(ctx, s.socket, liveKitMessage{Offer: offer})
		}
	case m.Answer != nil:
		s.answered = true
		if err := s.publication.Accept(m.Answer.SDP); err != nil {
			return err
		}
	case m.Trickle != nil && (m.Trickle.Target == "" || m.Trickle.Target == "PUBLISHER"):
		var candidate webrtc.ICECandidateInit
		if err := json.Unmarshal([]byte(m.Trickle.Candidate), &candidate); err != nil {
			return err
		}
		candidate.Candidate = by(s.relay, candidate.Candidate)
		s.candidates = append(s.candidates, candidate)
	}
	for ; s.answered && len(s.candidates) > 0; s.candidates = s.candidates[1:] {
		if err := s.publication.AddCandidate(s.candidates[0]); err != nil {
			return err
		}
	}

	return nil
}

// hidden is what a server must not know, so that it does not go past the relay.
var hidden = regexp.MustCompile(`a=candidate:.*\r\n`)

// by has a candidate name the relay's address (RFC 8839 section 5.1).
func by(relay, candidate string) string {
	fields := strings.Fields(candidate)
	if host, port, err := net.SplitHostPort(relay); err == nil && len(fields) > 5 {
		fields[4], fields[5] = host, port
	}

	return strings.Join(fields, " ")
}
