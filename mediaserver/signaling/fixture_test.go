package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// room is a Channels that records what signalling asks of it.
type room struct {
	mu       sync.Mutex
	sessions chan *seat
	joinErr  error
	offerErr error
	counts   Counts
}

// seat is one Session.
type seat struct {
	room    *room
	request Connect
	client  Client
	calls   chan string
	left    chan string

	mu       sync.Mutex
	reoffers int
	answer   error
}

func (r *room) Join(_ context.Context, request Connect, client Client) (Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.joinErr != nil {
		return nil, r.joinErr
	}
	s := &seat{room: r, request: request, client: client, calls: make(chan string, 1000), left: make(chan string, 2)}
	r.sessions <- s

	return s, nil
}

func (r *room) Counts(string) Counts {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.counts
}

func (s *seat) Offer(context.Context) (Offer, error) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()

	return Offer{SDP: "first", ChannelID: s.request.ChannelID, ConnectionID: "id", ClientID: "client", BundleID: "bundle",
		SessionID: "session", AudioMID: "0", VideoMID: "1"}, s.room.offerErr
}

func (s *seat) Reoffer(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reoffers++

	return "again", nil
}

func (s *seat) Answer(_ context.Context, sdp string) error {
	s.calls <- "answer " + sdp
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.answer
}

func (s *seat) Candidate(candidate string, _ *string, _ *uint16) error {
	if candidate == "bad" {
		return errors.New("bad candidate")
	}
	s.calls <- "candidate " + candidate

	return nil
}

func (s *seat) Leave(reason string) { s.left <- reason }

// fixture is a server on loopback.
type fixture struct {
	*testing.T
	room     *room
	server   *Server
	url      string
	registry *prometheus.Registry
}

func start(t *testing.T, config Config) *fixture {
	t.Helper()
	f := &fixture{T: t, room: &room{sessions: make(chan *seat, 100)}, registry: prometheus.NewRegistry()}
	config.Channels, config.Registerer = f.room, f.registry
	if config.Log == nil {
		config.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	f.server = NewServer(config)
	listener := httptest.NewServer(f.server)
	f.url = listener.URL
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := f.server.Shutdown(ctx); err != nil {
			t.Errorf("shutting down: %v", err)
		}
		listener.Close()
		if open := measured(t, f.server.metrics.connections); open != 0 {
			t.Errorf("%v connections are counted after the end", open)
		}
	})

	return f
}

// measured is the value of a gauge or counter.
func measured(t *testing.T, metric prometheus.Metric) float64 {
	t.Helper()
	var value dto.Metric
	if err := metric.Write(&value); err != nil {
		t.Fatal(err)
	}

	return value.GetGauge().GetValue() + value.GetCounter().GetValue()
}

// peer is one client of a fixture.
type peer struct {
	*testing.T
	socket *websocket.Conn
}

func (f *fixture) dial() *peer {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	header := http.Header{"Origin": []string{"https://elsewhere.example"}}
	socket, response, err := websocket.Dial(ctx, f.url, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		f.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	socket.SetReadLimit(64 << 20)
	f.Cleanup(func() { _ = socket.CloseNow() })

	return &peer{f.T, socket}
}

func (p *peer) send(text string) {
	p.Helper()
	p.sendFrame(websocket.MessageText, []byte(text))
}

func (p *peer) sendFrame(kind websocket.MessageType, frame []byte) {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.socket.Write(ctx, kind, frame); err != nil {
		p.Fatal(err)
	}
}

// receive returns the next message that is no ping, unless pings are wanted.
func (p *peer) receive(wanted string) map[string]any {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, text, err := p.socket.Read(ctx)
		if err != nil {
			p.Fatalf("waiting for %s: %v", wanted, err)
		}
		var message map[string]any
		if err := json.Unmarshal(text, &message); err != nil {
			p.Fatalf("%q: %v", text, err)
		}
		if message["type"] == "ping" && wanted != "ping" {
			continue
		}
		if message["type"] != wanted {
			p.Fatalf("received %s, want %s", text, wanted)
		}

		return message
	}
}

// closed waits for the close and checks code and reason.
func (p *peer) closed(code int, reason string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, _, err := p.socket.Read(ctx)
		if err == nil {
			continue
		}
		var got websocket.CloseError
		if !errors.As(err, &got) || int(got.Code) != code || got.Reason != reason {
			p.Fatalf("closed by %v, want %d %s", err, code, reason)
		}

		return
	}
}

func (f *fixture) seat() *seat {
	f.Helper()

	return await(f.T, f.room.sessions, "a session")
}

func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func (s *seat) expect(t *testing.T, want string) {
	t.Helper()
	if got := await(t, s.calls, want); got != want {
		t.Fatalf("session heard %q, want %q", got, want)
	}
}

func (s *seat) expectLeft(t *testing.T, reason string) {
	t.Helper()
	if got := await(t, s.left, "leave"); got != reason {
		t.Fatalf("left with %s, want %s", got, reason)
	}
}

// offered brings a client to its offer, established beyond its answer.
func (f *fixture) offered() (*peer, *seat) {
	f.Helper()
	p := f.dial()
	p.send(connectText(""))
	p.receive("offer")

	return p, f.seat()
}

func (f *fixture) established() (*peer, *seat) {
	f.Helper()
	p, s := f.offered()
	p.send(`{"type":"answer","sdp":"a"}`)
	s.expect(f.T, "answer a")

	return p, s
}

// get asks for the endpoint as something that is no WebSocket client, and returns the status.
func (f *fixture) get() int {
	f.Helper()
	request, err := http.NewRequestWithContext(f.Context(), http.MethodGet, f.url, nil)
	if err != nil {
		f.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		f.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		f.Error(err)
	}

	return response.StatusCode
}
