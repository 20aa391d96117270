package peers_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

// TestPassedOn proves that a client that reaches another media server than its channel's
// owner is served there: messages go both ways, and the close is the owner's.
func TestPassedOn(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{})
	a, b := nodes[0], nodes[1]
	p.choice = "b"
	here := b.join("lesson", `,"client_id":"at-home"`)
	passed := a.join("lesson", `,"client_id":"passed","metadata":{"access_token":"sEcReT"}`)
	if got := len(b.room.in("lesson")); got != 2 {
		t.Fatalf("the owner has %d clients, want 2", got)
	}
	if len(a.room.in("lesson")) != 0 || a.peers.Hosted() != 0 {
		t.Error("the one that passes a client on hosts it")
	}
	until(t, "it to be counted", func() bool { // The client may be told before.
		return a.signaling.Passed() == 1 && a.metric("nagi_signaling_passed_sockets") == 1
	})
	passed.send(`{"type":"answer","sdp":"mine"}`)
	passed.receive("ping")
	passed.send(`{"type":"pong"}`)
	passed.send(`{"type":"disconnect","reason":"NO-ERROR"}`)
	passed.closed(1000, "TYPE-DISCONNECT")
	here.send(`{"type":"nonsense"}`)
	here.closed(4490, "UNKNOWN-TYPE")
	until(t, "the channel to be released", func() bool { return p.owner("lesson") == "" && b.peers.Hosted() == 0 })
	until(t, "the passer to forget", func() bool { return a.signaling.Passed() == 0 })
	for _, n := range nodes {
		if text := n.log.String(); strings.Contains(text, "sEcReT") || text == "" {
			t.Errorf("%s logs a secret, or nothing", n.name)
		}
	}
}

// TestPassedClosesAlike proves that both sides hear how the other has ended.
func TestPassedClosesAlike(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{})
	a, b := nodes[0], nodes[1]
	p.choice = "b"

	gone := a.join("first", "")
	if err := gone.socket.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Error(err)
	}
	until(t, "the owner to see the client go", func() bool { return len(b.room.in("first")) == 0 })

	dropped := a.join("second", "")
	if err := dropped.socket.CloseNow(); err != nil {
		t.Error(err)
	}
	until(t, "the owner to see the client drop", func() bool { return len(b.room.in("second")) == 0 })

	dismissed := a.join("third", "")
	b.room.in("third")[0].client.Close(1000, "DISCONNECTED-API")
	dismissed.closed(1000, "DISCONNECTED-API")
}

// TestClaimedMeanwhile proves that of two that open a channel at once one does, and that the
// other passes its client on with what the authority has decided: it is asked once.
func TestClaimedMeanwhile(t *testing.T) {
	t.Parallel()
	p := newPlane()
	p.claims = make(chan struct{})
	asked := &authority{}
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{authority: asked})
	clients := []*client{nodes[0].connect("lesson", ""), nodes[1].connect("lesson", "")}
	until(t, "both to be admitted", func() bool { return len(asked.requests()) == 2 })
	for range 2 {
		p.claims <- struct{}{}
	}
	for _, c := range clients {
		c.receive("offer")
	}
	owner := p.owner("lesson")
	for _, n := range nodes {
		want := 0
		if n.name == owner {
			want = 2
		}
		members := n.room.in("lesson")
		if len(members) != want {
			t.Errorf("%s has %d clients, want %d", n.name, len(members), want)
		}
		for _, m := range members {
			if m.request.ClientID != "decided" {
				t.Errorf("a client is %q", m.request.ClientID)
			}
		}
	}
	if requests := asked.requests(); len(requests) != 2 {
		t.Errorf("the authority was asked %d times for 2 clients", len(requests))
	}
}

// TestNotOwner proves that one that is passed a client in vain says whose it is, and that
// the passer goes there.
func TestNotOwner(t *testing.T) {
	t.Parallel()
	// A pod's name may be longer than what a close frame takes.
	for what, owner := range map[string]string{"short": "c", "long": strings.Repeat("c", 253)} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			notOwner(t, owner)
		})
	}
}

func notOwner(t *testing.T, owner string) {
	t.Helper()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b", owner}, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	p.choice = owner
	c.join("lesson", "")
	// What b says is from before: it is told of an owner that has moved on.
	old := &staleFind{Peers: a.peers, place: a.peers.Place("b")}
	stale := serveWith(t, old)
	joined := stale.join("lesson", "")
	if len(c.room.in("lesson")) != 2 || len(b.room.in("lesson")) != 0 {
		t.Error("the client is not with the owner")
	}
	if got := stale.metric("nagi_signaling_passes_total", "not_owner"); got != 1 {
		t.Errorf("the passer was told %v times that the channel is another's", got)
	}
	joined.send(`{"type":"disconnect"}`)
	joined.closed(1000, "TYPE-DISCONNECT")
}

// TestRedirect proves that a client is redirected before its offer where the owner has an
// address of its own, once: who comes so is passed on.
func TestRedirect(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{signalingURL: "own"})
	a, b := nodes[0], nodes[1]
	p.choice = "b"
	c := a.connect("lesson", "")
	message := c.receive("redirect")
	if message["location"] != b.url() {
		t.Errorf("redirected to %v, want %s", message["location"], b.url())
	}
	if len(b.room.in("lesson")) != 0 {
		t.Error("the client was passed on too")
	}
	_ = c.socket.CloseNow()
	b.join("lesson", `,"redirect":true`)
	a.join("lesson", `,"redirect":true`)
	if len(b.room.in("lesson")) != 2 {
		t.Error("the redirected are not with the owner")
	}
	if a.metric("nagi_signaling_redirects_total") != 1 {
		t.Error("the redirect is not counted")
	}
}

// TestOwnerDies proves that clients who were passed on are told to come again when their
// owner is gone without a word.
func TestOwnerDies(t *testing.T) {
	t.Parallel()
	p := newPlane()
	a := p.start(t, []string{"a", "b"}, nodeOptions{})[0]
	dies := make(chan struct{})
	owner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_, _, _ = socket.Read(r.Context())
		_ = socket.Write(r.Context(), websocket.MessageText, []byte(`{"type":"offer"}`))
		<-dies
		_ = socket.CloseNow()
	}))
	defer owner.Close()
	p.do(func() {
		p.members["b"].PeerAddress = owner.Listener.Addr().String()
		p.owners["lesson"] = "b"
	})
	c := a.join("lesson", "")
	close(dies)
	c.closed(1001, "SHUTDOWN")
}

// TestOwnerTakesNothing proves that why an owner closes is passed on though it takes nothing any more: a message of the
// client's, or what it is passed on with, finds the socket broken before the reason has been read.
func TestOwnerTakesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		messages int // that the owner takes
		code     websocket.StatusCode
		reason   string
	}{
		"before the connect message": {0, 4490, "AUTHENTICATION-FAILURE"},
		"after the offer":            {1, 1000, "DISCONNECTED-API"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlane()
			a := p.start(t, []string{"a", "b"}, nodeOptions{})[0]
			broken := make(chan struct{})
			owner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				socket, err := websocket.Accept(w, r, nil)
				if err != nil {
					return
				}
				for range test.messages {
					_, _, _ = socket.Read(r.Context())
					_ = socket.Write(r.Context(), websocket.MessageText, []byte(`{"type":"offer"}`))
				}
				<-broken
				_ = socket.Close(test.code, test.reason)
			}))
			t.Cleanup(owner.Close)
			p.do(func() {
				p.members["b"].PeerAddress = owner.Listener.Addr().String()
				p.owners["lesson"] = "b"
			})
			c := serveWith(t, &oneWay{Peers: a.peers, takes: 1 + test.messages, broken: broken}).connect("lesson", "")
			if test.messages > 0 {
				c.receive("offer")
				c.send(`{"type":"pong"}`)
			}
			c.closed(int(test.code), test.reason)
		})
	}
}

// oneWay dials sockets that break on the way out after some writes, the handshake first, and say so.
type oneWay struct {
	*peers.Peers
	takes  int
	broken chan struct{}
}

func (o *oneWay) Dial(ctx context.Context, place *peers.Place, _ peers.Pass) (*websocket.Conn, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)

		return &breaking{Conn: conn, takes: o.takes, broken: o.broken}, err
	}}
	//nolint:bodyclose // The library closes it.
	socket, _, err := websocket.Dial(ctx, "ws://"+place.PeerAddress,
		&websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})

	return socket, err
}

type breaking struct {
	net.Conn
	takes  int
	broken chan struct{}
}

func (b *breaking) Write(data []byte) (int, error) {
	if b.takes--; b.takes == -1 {
		close(b.broken)
	}
	if b.takes < 0 {
		return 0, syscall.EPIPE
	}

	return b.Conn.Write(data)
}

// TestPeerSilent proves that a peer that takes connections and answers nothing is given up,
// and the client served elsewhere.
func TestPeerSilent(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	silent, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{})
	p.do(func() {
		p.members["b"].PeerAddress = silent.Addr().String()
		p.choice = "b"
	})
	c := nodes[0].join("lesson", "")
	if len(nodes[0].room.in("lesson")) != 1 {
		t.Error("the client is not served by the one that it reached")
	}
	_ = c.socket.CloseNow()

	// An owner that cannot be reached keeps its channel: the client is told to try again.
	p.do(func() { p.owners["theirs"] = "b" })
	nodes[0].connect("theirs", "").closed(4490, "CHANNEL-UNREACHABLE")
}

// TestLeavesWhilePassed proves that a client that goes while it is passed on leaves nothing.
func TestLeavesWhilePassed(t *testing.T) {
	t.Parallel()
	p := newPlane()
	waiting := &authority{gate: make(chan struct{})}
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{authority: waiting})
	p.choice = "b"
	c := nodes[0].connect("lesson", "")
	until(t, "the owner to ask", func() bool { return len(waiting.requests()) == 1 })
	c.send(`{"type":"disconnect"}`)
	c.closed(1000, "TYPE-DISCONNECT")
	close(waiting.gate)
	until(t, "both to forget", func() bool {
		return nodes[0].metric("nagi_signaling_connections")+nodes[1].metric("nagi_signaling_connections") == 0
	})
	if p.owner("lesson") != "" {
		t.Error("the channel is claimed for nobody")
	}
}

// TestSlowPassedClient proves that a client that does not read is closed and holds no memory
// without bound, and that others of the same owner do not wait for it.
func TestSlowPassedClient(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{})
	p.choice = "b"
	slow := nodes[0].join("lesson", `,"client_id":"slow"`)
	fast := nodes[0].join("lesson", `,"client_id":"fast"`)
	flood := map[string]string{"type": "notify", "text": strings.Repeat("x", 1<<20)}
	member := func(id string) *seat {
		for _, m := range nodes[1].room.in("lesson") {
			if m.request.ClientID == id {
				return m
			}
		}

		return nil
	}
	until(t, "the slow one to be closed", func() bool {
		if m := member("slow"); m != nil {
			m.client.Notify(flood)
		}

		return member("slow") == nil
	})
	member("fast").client.Notify(map[string]string{"type": "notify"})
	fast.receive("notify")
	_ = slow.socket.CloseNow()
}

// TestManyOfOnePeer proves that the bound of sockets from one address is for clients: it is
// the client's address that counts where it is passed on to, and it is told so.
func TestManyOfOnePeer(t *testing.T) {
	t.Parallel()
	p := newPlane()
	a, b := p.newNode(t, "a", nodeOptions{}), p.newNode(t, "b", nodeOptions{bound: 3})
	p.introduce(a, b)
	p.choice = "b"
	for range 3 {
		a.join("lesson", "")
	}
	a.connect("lesson", "").closed(4490, "TOO-MANY-CLIENTS")
	// Others have room, by whatever media server they come.
	for i := range 3 {
		socket, err := a.peers.Dial(t.Context(), a.peers.Place("b"), peers.Pass{Client: fmt.Sprintf("192.0.2.%d:4000", i)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = socket.CloseNow() }()
	}
}

// staleFind finds a channel where it is not, once.
type staleFind struct {
	*peers.Peers
	place *peers.Place
}

func (s *staleFind) Find(
	ctx context.Context, channelID string, passed bool, failed ...string,
) (*peers.Place, error) {
	if place := s.place; place != nil {
		s.place = nil

		return place, nil
	}

	return s.Peers.Find(ctx, channelID, passed, failed...)
}

// TestForgedPass proves that who shows a pass that is not signed, or says its address in
// another way, is a stranger.
func TestForgedPass(t *testing.T) {
	t.Parallel()
	p := newPlane()
	asked := &authority{}
	a := p.start(t, []string{"a", "b"}, nodeOptions{authority: asked})[0]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	forged := base64.RawURLEncoding.EncodeToString(
		[]byte(`{"target":"a","purpose":"serve","client":"192.0.2.1:1","time":"` +
			time.Now().Format(time.RFC3339) + `","nonce":"n"}`))
	for _, value := range []string{"nonsense", forged, forged + "." + forged} {
		_, response, err := websocket.Dial(ctx, a.url(), &websocket.DialOptions{ //nolint:bodyclose // The library closes it.
			HTTPHeader: http.Header{peers.Header: {value}},
		})
		if err == nil || response == nil || response.StatusCode != http.StatusForbidden {
			t.Errorf("%.20s is answered %v, %v", value, response, err)
		}
	}
	if a.metric("nagi_signaling_refused_total") != 3 {
		t.Error("the passes that are not believed are not counted")
	}
	socket, _, err := websocket.Dial(ctx, a.url(), &websocket.DialOptions{ //nolint:bodyclose // The library closes it.
		HTTPHeader: http.Header{"X-Forwarded-For": {"192.0.2.1"}, "Forwarded": {"for=192.0.2.1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t, socket}
	c.send(`{"type":"connect","role":"sendrecv","channel_id":"lesson"}`)
	c.receive("offer")
	if from := asked.requests()[0].From.String(); from != "127.0.0.1/32" {
		t.Errorf("the client comes from %s", from)
	}
	_ = socket.CloseNow()
}

// TestDecisionIsThePass proves that with a pass that an authority's decision belongs to no
// other decision is taken.
func TestDecisionIsThePass(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{authority: &authority{}})
	a, b := nodes[0], nodes[1]
	decision := []byte(`{"client_id":"decided"}`)
	sum := sha256.Sum256(decision)
	for _, first := range []string{string(decision), `{"client_id":"another"}`} {
		socket, err := a.peers.Dial(t.Context(), a.peers.Place("b"), peers.Pass{
			Client: "192.0.2.7:40000", ConnectionID: "ID", Decision: sum[:],
		})
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t, socket}
		c.send(first)
		if first != string(decision) {
			c.closed(4490, "INVALID-JSON")

			continue
		}
		c.send(`{"type":"connect","role":"sendrecv","channel_id":"lesson"}`)
		if offer := c.receive("offer"); offer["connection_id"] != "ID" {
			t.Errorf("the connection is %v", offer["connection_id"])
		}
		_ = socket.CloseNow()
	}
	until(t, "the owner to forget", func() bool { return b.peers.Hosted() == 0 })
}
