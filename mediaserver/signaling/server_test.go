package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// room is a Channels that records what signalling asks of it.
type room struct {
	mu       sync.Mutex
	sessions chan *seat
	joinErr  error
	offerErr error
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

func (s *seat) Offer(context.Context) (Offer, error) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()

	return Offer{SDP: "first", ChannelID: s.request.ChannelID, ConnectionID: "id", ClientID: "client", BundleID: "bundle", SessionID: "session", AudioMID: "0", VideoMID: "1"}, s.room.offerErr
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
	config.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
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
		response.Body.Close()
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

func TestHandshake(t *testing.T) {
	f := start(t, Config{})
	p := f.dial()
	p.send(connectText(`,"client_id":"client","video":{"bit_rate":800},"sdp":"ignored"`))
	want := map[string]any{
		"type": "offer", "sdp": "first", "version": protocolVersion,
		"channel_id": "sora", "connection_id": "id", "client_id": "client", "bundle_id": "bundle", "session_id": "session",
		"config": map[string]any{"iceServers": []any{}}, "mid": map[string]any{"audio": "0", "video": "1"}, "metadata": map[string]any{},
		"audio": true, "audio_codec_type": "OPUS", "video": true, "video_codec_type": "VP8", "video_bit_rate": 800.0,
		"multistream": true, "simulcast": false, "simulcast_multicodec": false, "spotlight": false,
		"data_channel_signaling": false, "ignore_disconnect_websocket": false,
	}
	if diff := cmp.Diff(want, p.receive("offer")); diff != "" {
		t.Errorf("offer (-want +got):\n%s", diff)
	}
	s := f.seat()
	if s.request.ClientID != "client" || s.request.Role != forwardingv1.Role_ROLE_SENDRECV {
		t.Errorf("the channel got %+v", s.request)
	}

	p.send(`{"type":"candidate","candidate":"early"}`)
	s.expect(t, "candidate early")
	p.send(`{"type":"answer","sdp":"a"}`)
	s.expect(t, "answer a")
	p.send(`{"type":"candidate","candidate":"bad","sdpMid":"0"}`)
	p.send(`{"type":"candidate","candidate":""}`)
	s.expect(t, "candidate ")
	if dropped := measured(t, f.server.metrics.candidatesDropped); dropped != 1 {
		t.Errorf("%v candidates are counted as dropped, want 1", dropped)
	}

	s.client.Notify(ConnectionCreated{Timestamp: time.Now(), Data: []Member{}})
	if message := p.receive("notify"); message["event_type"] != "connection.created" {
		t.Errorf("received %v", message)
	}
	p.send(`{"type":"disconnect","reason":"NO-ERROR"}`)
	p.closed(1000, ReasonTypeDisconnect)
	s.expectLeft(t, ReasonTypeDisconnect)
}

func TestReofferOneAtATime(t *testing.T) {
	f := start(t, Config{})
	p, s := f.offered()
	for range 3 {
		s.client.Renegotiate() // Not before the answer.
	}
	p.send(`{"type":"answer","sdp":"a"}`)
	s.expect(t, "answer a")
	p.receive("re-offer")
	for range 50 {
		s.client.Renegotiate()
	}
	s.client.Notify(RTPStreamPaused{}) // Comes next: no re-offer is before it.
	p.receive("notify")
	p.send(`{"type":"re-answer","sdp":"b"}`)
	s.expect(t, "answer b")
	p.receive("re-offer")
	p.send(`{"type":"update","sdp":"c"}`)
	s.expect(t, "answer c")

	s.client.Notify(RTPStreamResumed{})
	p.receive("notify")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reoffers != 2 {
		t.Errorf("%d re-offers were made, want 2", s.reoffers)
	}
}

func TestRefusedBeforeJoin(t *testing.T) {
	f := start(t, Config{MaxMessageSize: 100_000})
	for text, reason := range refused {
		if text == "" {
			continue // Dialled clients cannot be told apart from silence.
		}
		p := f.dial()
		p.send(text)
		if !strings.Contains(text, "\xff") {
			p.closed(CodeError, reason)
		}
	}
	for _, text := range []string{`{"type":"answer","sdp":"x"}`, `{"type":"re-answer","sdp":"x"}`, `{"type":"candidate","candidate":""}`, `{"type":"pong"}`} {
		p := f.dial()
		p.send(text)
		p.closed(CodeError, ReasonUnexpectedType)
	}
	p := f.dial()
	p.sendFrame(websocket.MessageBinary, []byte(connectText("")))
	p.closed(CodeError, ReasonBinaryMessage)
	p = f.dial()
	p.send(connectText(`,"x":"` + strings.Repeat("x", 100_000) + `"`))
	p.closed(CodeError, ReasonMessageTooLarge)
	p = f.dial()
	p.send(`{"type":"disconnect"}`)
	p.closed(1000, ReasonTypeDisconnect)
	if len(f.room.sessions) != 0 {
		t.Error("a refused client is in a channel")
	}
	p, _ = f.established() // The server is none the worse for it.
	p.send(`{"type":"disconnect"}`)
	p.closed(1000, ReasonTypeDisconnect)
}

func TestRefusedInChannel(t *testing.T) {
	f := start(t, Config{MaxMessageSize: 100_000})
	bystander, other := f.established()
	for _, test := range []struct {
		state  func() (*peer, *seat)
		frame  string
		reason string
	}{
		{f.offered, connectText(""), ReasonUnexpectedType},
		{f.offered, `{"type":"re-answer","sdp":"x"}`, ReasonUnexpectedType},
		{f.established, `{"type":"answer","sdp":"x"}`, ReasonUnexpectedType},
		{f.established, `{"type":"update","sdp":"x"}`, ReasonUnexpectedType},
		{f.established, connectText(""), ReasonUnexpectedType},
		{f.established, "no JSON", ReasonFailureJSONDecode},
		{f.established, `{"type":"push"}`, ReasonUnknownType},
		{f.established, strings.Repeat(" ", 100_001), ReasonMessageTooLarge},
	} {
		p, s := test.state()
		p.send(test.frame)
		p.closed(CodeError, test.reason)
		s.expectLeft(t, test.reason)
	}

	p, s := f.offered()
	s.mu.Lock()
	s.answer = errors.New("no SDP")
	s.mu.Unlock()
	p.send(`{"type":"answer","sdp":"x"}`)
	p.closed(CodeError, ReasonInvalidSDP)
	s.expectLeft(t, ReasonInvalidSDP)

	other.client.Notify(RTPStreamPaused{})
	bystander.receive("notify")
}

func TestChannelRefuses(t *testing.T) {
	f := start(t, Config{})
	set := func(join, offer error) {
		f.room.mu.Lock()
		defer f.room.mu.Unlock()
		f.room.joinErr, f.room.offerErr = join, offer
	}
	for _, test := range []struct {
		join, offer error
		code        int
		reason      string
	}{
		{&CloseError{Code: 4000, Reason: "FULL"}, nil, 4000, "FULL"},
		{errors.New("broken"), nil, CodeError, ReasonInternalError},
		{nil, errors.New("broken"), CodeError, ReasonInternalError},
	} {
		set(test.join, test.offer)
		p := f.dial()
		p.send(connectText(""))
		p.closed(test.code, test.reason)
		if test.join == nil {
			f.seat().expectLeft(t, test.reason)
		}
	}
}

func TestTimeouts(t *testing.T) {
	const short = 50 * time.Millisecond
	t.Run("connect", func(t *testing.T) {
		f := start(t, Config{ConnectTimeout: short})
		f.dial().closed(CodeError, ReasonConnectWaitTimeout)
	})
	t.Run("answer", func(t *testing.T) {
		f := start(t, Config{AnswerTimeout: short})
		p, s := f.offered()
		p.closed(CodeError, ReasonAnswerTimeout)
		s.expectLeft(t, ReasonAnswerTimeout)
	})
	t.Run("media", func(t *testing.T) {
		f := start(t, Config{MediaTimeout: short})
		p, s := f.established()
		s.client.Notify(ConnectionCreated{}) // Another's does not count.
		p.closed(CodeError, ReasonConnectionWaitTimeout)
	})
	t.Run("re-answer", func(t *testing.T) {
		f := start(t, Config{AnswerTimeout: 500 * time.Millisecond})
		p, s := f.established()
		s.client.Renegotiate()
		p.closed(CodeError, ReasonReAnswerTimeout)
	})
	t.Run("pong", func(t *testing.T) {
		f := start(t, Config{PingInterval: 10 * time.Millisecond, PongTimeout: 500 * time.Millisecond})
		p, _ := f.established()
		begin := time.Now()
		for time.Since(begin) < time.Second { // Pongs keep it alive beyond the timeout.
			if stats := p.receive("ping")["stats"]; stats != false {
				t.Fatalf("stats is %v, want false", stats)
			}
			p.send(`{"type":"pong"}`)
		}
		p.closed(CodeError, ReasonPongTimeout)
	})
	t.Run("none once connected", func(t *testing.T) {
		f := start(t, Config{MediaTimeout: 300 * time.Millisecond, PingInterval: 100 * time.Millisecond})
		p, s := f.established()
		s.client.Notify(ConnectionCreated{Data: []Member{}})
		p.receive("notify")
		for range 6 {
			p.receive("ping")
		}
		if len(s.left) != 0 {
			t.Error("a connected client was dismissed")
		}
	})
}

func TestOpenAndCloseWithoutMessages(t *testing.T) {
	f := start(t, Config{})
	for range 10 {
		p := f.dial()
		if err := p.socket.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err)
		}
		_ = f.dial().socket.CloseNow()
	}
}

func TestDroppedSocketLeaves(t *testing.T) {
	f := start(t, Config{})
	p, s := f.established()
	_ = p.socket.CloseNow()
	s.expectLeft(t, reasonDropped)

	p, s = f.established()
	_ = p.socket.Close(websocket.StatusNormalClosure, "bye")
	s.expectLeft(t, reasonDropped)
	// What a channel says while the client goes is lost without harm.
	s.client.Notify(RTPStreamPaused{})
	s.client.Renegotiate()
	s.client.Close(CodeNormal, ReasonDisconnectedAPI)
	if len(s.left) != 0 {
		t.Error("left twice")
	}
}

func TestCloseByChannel(t *testing.T) {
	f := start(t, Config{})
	p, s := f.established()
	s.client.Notify(RTPStreamPaused{})
	s.client.Close(CodeNormal, ReasonDisconnectedAPI)
	s.client.Close(CloseTransportFailed()) // The first one counts.
	p.receive("notify")
	p.closed(1000, ReasonDisconnectedAPI)
	s.expectLeft(t, ReasonDisconnectedAPI)
}

// A client that reads nothing is dismissed; those who notify it never wait, and
// others get theirs.
func TestSlowClient(t *testing.T) {
	f := start(t, Config{WriteTimeout: 200 * time.Millisecond})
	bystander, other := f.established()
	_, s := f.established()
	metadata, err := json.Marshal(strings.Repeat("x", 100_000))
	if err != nil {
		t.Fatal(err)
	}
	big := ConnectionCreated{ConnectionState: ConnectionState{Member: Member{Metadata: metadata}}}
	deadline := time.Now().Add(patience)
	for len(s.left) == 0 && time.Now().Before(deadline) {
		s.client.Notify(big)
	}
	if reason := await(t, s.left, "leave"); reason != ReasonSlowClient {
		t.Errorf("left with %s", reason)
	}
	other.client.Notify(RTPStreamPaused{})
	bystander.receive("notify")
}

func TestShutdown(t *testing.T) {
	f := start(t, Config{})
	p, s := f.established()
	idle := f.dial()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- f.server.Shutdown(ctx)
	}()
	p.closed(CodeGoingAway, ReasonShutdown)
	s.expectLeft(t, ReasonShutdown)
	idle.closed(CodeGoingAway, ReasonShutdown)
	if err := await(t, done, "end of the shutdown"); err != nil {
		t.Error(err)
	}

	response, err := http.Get(f.url)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a late client gets %s", response.Status)
	}
}

func TestNoWebSocket(t *testing.T) {
	f := start(t, Config{})
	response, err := http.Get(f.url)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("a plain GET gets %s", response.Status)
	}
}

// A flood of candidates is bounded, and does not end the connection.
func TestTooManyCandidates(t *testing.T) {
	f := start(t, Config{})
	p, s := f.established()
	for range maxCandidates + 10 {
		p.send(`{"type":"candidate","candidate":"x"}`)
	}
	s.client.Renegotiate()
	p.receive("re-offer")
	p.send(`{"type":"re-answer","sdp":"b"}`)
	for range maxCandidates {
		s.expect(t, "candidate x")
	}
	s.expect(t, "answer b")
}
