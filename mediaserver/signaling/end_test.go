package signaling

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

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
		s.client.Notify(ConnectionCreated{Data: []Encoded{}})
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

// A pause that withholds a whole hall from one receiver tells it of every stream at
// once, and nothing is lost.
func TestManyNoticesAtOnce(t *testing.T) {
	f := start(t, Config{})
	p, s := f.established()
	const streams = 2_000
	for i := range streams {
		notice, err := Encode(RTPStreamPaused{SendConnectionID: strconv.Itoa(i)}) // As it may be for many.
		if err != nil {
			t.Fatal(err)
		}
		s.client.Notify(notice)
	}
	for i := range streams {
		if message := p.receive("notify"); message["send_connection_id"] != strconv.Itoa(i) {
			t.Fatalf("notice %d is %v", i, message)
		}
	}
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

	if status := f.get(); status != http.StatusServiceUnavailable {
		t.Errorf("a late client gets %d", status)
	}
}
