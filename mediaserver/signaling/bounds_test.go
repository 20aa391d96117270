package signaling

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// tryDial is dial that may be refused; the status says with what.
func (f *fixture) tryDial() (socket *websocket.Conn, status int) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	socket, response, err := websocket.Dial(ctx, f.url, nil)
	if response == nil {
		f.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}

	return socket, response.StatusCode
}

// refusedWith dials and returns the status that refuses it.
func (f *fixture) refusedWith() int {
	f.Helper()
	socket, status := f.tryDial()
	if socket != nil {
		_ = socket.CloseNow()
		f.Fatal("one socket too many is taken")
	}

	return status
}

// dialWhenFree dials until a socket that ended has made room.
func (f *fixture) dialWhenFree() {
	f.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if socket, _ := f.tryDial(); socket != nil {
			f.Cleanup(func() { _ = socket.CloseNow() })

			return
		}
	}
	f.Fatal("no room is made")
}

// Sockets are bounded in all and for each address, those that say nothing too. A bound tells which it is, and a socket
// that ends makes room.
func TestSocketsAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		status int
		bound  string
	}{
		"all":     {Config{MaxSockets: 3}, http.StatusServiceUnavailable, "sockets"},
		"address": {Config{MaxSockets: 4, MaxSocketsPerAddress: 3}, http.StatusTooManyRequests, "address"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, c.config)
			first := f.dial()
			f.dial()
			f.offered()
			if got := f.refusedWith(); got != c.status {
				t.Errorf("refused with %d, want %d", got, c.status)
			}
			if got := measured(t, f.server.metrics.refused.WithLabelValues(c.bound)); got != 1 {
				t.Errorf("%v refusals are counted, want 1", got)
			}
			first.send(`{"type":"disconnect"}`)
			first.closed(1000, ReasonTypeDisconnect)
			f.dialWhenFree()
			if got := f.refusedWith(); got != c.status {
				t.Errorf("refused with %d, want %d", got, c.status)
			}
		})
	}
}

func expectCut(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection beyond the bound is not cut: %v", err)
	}
}

// TCP connections that say nothing are bounded as well, and make room when they end.
func TestConnectionsAreBounded(t *testing.T) {
	server := NewServer(Config{MaxSockets: 1000, MaxSocketsPerAddress: 1})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bounded := server.Bound(listener)
	accepted := make(chan net.Conn, 2*sparePerAddress)
	go func() {
		defer close(accepted)
		for {
			conn, err := bounded.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	var dialled []net.Conn
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		dialled = append(dialled, conn)

		return conn
	}
	var first net.Conn
	for range sparePerAddress + 1 {
		dial()
		if conn := await(t, accepted, "a connection"); first == nil {
			first = conn
		}
	}
	expectCut(t, dial())
	if got := measured(t, server.metrics.refused.WithLabelValues("address")); got != 1 {
		t.Errorf("%v refusals are counted, want 1", got)
	}
	for range 2 { // Closed twice, it makes one place.
		_ = first.Close()
	}
	dial()
	await(t, accepted, "a connection in the place that is free")
	expectCut(t, dial())

	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	for conn := range accepted {
		_ = conn.Close()
	}
	for _, conn := range dialled {
		_ = conn.Close()
	}
}
