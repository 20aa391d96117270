package peers_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// TestReaches proves what is told of whether a media server can be reached: that it cannot is
// said only of one that takes no connection, or does not answer, for its claims pass on then.
func TestReaches(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{})
	b := p.members["b"].GetPeerAddress()
	stranger := p.newNode(t, "stranger", nodeOptions{}) // It has no keys, so that it believes nobody.
	busy := served(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	babbles := served(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })
	closes := served(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	frozen, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It takes connections, and answers nothing.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = frozen.Close() })
	const yes, no, unknown = "yes", "no", "unknown"
	for what, want := range map[string]struct{ name, address, reached string }{
		"it answers":                          {"b", b, yes},
		"it is this one":                      {"a", "", yes},
		"its address is known here alone":     {"b", "", yes},
		"it does not believe who asks":        {"stranger", stranger.server.Listener.Addr().String(), yes},
		"it is busy":                          {"b", busy, yes},
		"it answers nonsense":                 {"b", babbles, yes},
		"another one is at its address":       {"other", b, no},
		"nobody listens":                      {"b", "127.0.0.1:1", no},
		"it stands still":                     {"b", frozen.Addr().String(), no},
		"it ends the connection":              {"b", closes, unknown},
		"its name is not found":               {"b", "nowhere.invalid:80", unknown},
		"its address is none":                 {"b", "nonsense", unknown},
		"nobody has said what its address is": {"other", "", unknown},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			got := no
			switch reached, err := nodes[0].peers.Reaches(ctx, &forwardingv1.Member{
				Name: want.name, PeerAddress: want.address,
			}); {
			case err != nil:
				got = unknown
			case reached:
				got = yes
			}
			if got != want.reached {
				t.Errorf("it is reached: %s, want %s", got, want.reached)
			}
		})
	}
	// Who has no keys, and who is not waited for any more, says nothing.
	if reached, err := stranger.peers.Reaches(t.Context(), p.members["b"]); reached || err == nil {
		t.Errorf("without keys it is reached: %t, %v", reached, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if reached, err := nodes[0].peers.Reaches(ctx, p.members["b"]); reached || err == nil {
		t.Errorf("for nobody it is reached: %t, %v", reached, err)
	}
}

// served is the address of a server that answers so.
func served(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)

	return server.Listener.Addr().String()
}
