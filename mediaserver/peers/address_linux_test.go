package peers_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/coder/websocket"
)

// dialFrom opens a signalling WebSocket from an address of this machine's: on Linux all of
// 127.0.0.0/8 are.
func (n *node) dialFrom(from string) (*client, *http.Response, error) {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), patience)
	defer cancel()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
	way := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	socket, response, err := websocket.Dial(ctx, n.url(), &websocket.DialOptions{HTTPClient: way})
	if err != nil {
		return nil, response, fmt.Errorf("from %s: %w", from, err)
	}
	n.Cleanup(func() { _ = socket.CloseNow() })

	return &client{n.T, socket}, response, nil
}

// TestPassedAddress proves that what counts is the client's address, for the authority and for
// the owner's bounds, and not that of the peer that brings it.
func TestPassedAddress(t *testing.T) {
	t.Parallel()
	p := newPlane()
	asked := &authority{}
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{authority: asked, bound: 1})
	a, b := nodes[0], nodes[1]
	p.choice = "b"
	for i, from := range []string{"127.0.0.2", "127.0.0.3"} {
		passed, _, err := a.dialFrom(from) //nolint:bodyclose // The library closes it.
		if err != nil {
			t.Fatal(err)
		}
		passed.send(`{"type":"connect","role":"sendrecv","channel_id":"lesson"}`)
		passed.receive("offer")
		requests := asked.requests()
		if len(requests) != i+1 {
			t.Fatalf("the authority was asked %d times for %d clients", len(requests), i+1)
		}
		if got := requests[i].From.String(); got != from+"/32" {
			t.Errorf("the client of %s comes from %s", from, got)
		}
		if got := b.room.in("lesson")[i].request.ClientID; got != "decided" {
			t.Errorf("the client is %q", got)
		}
		_, response, err := b.dialFrom(from) //nolint:bodyclose // The library closes it.
		if err == nil || response.StatusCode != http.StatusTooManyRequests {
			t.Errorf("a second one of %s is let in: %v", from, err)
		}
	}
	refused, _, err := a.dialFrom("127.0.0.4") //nolint:bodyclose // The library closes it.
	if err != nil {
		t.Fatal(err)
	}
	refused.send(`{"type":"connect","role":"sendrecv","channel_id":"lesson","metadata":{"access_token":"no"}}`)
	refused.closed(4490, "not you")
}
