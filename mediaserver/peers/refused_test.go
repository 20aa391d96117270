package peers_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

// TestPassedToOneThatMayNotOwn proves that whoever is passed on to a media server that has
// become full, or drains, meanwhile is served by the one that the managers name then.
func TestPassedToOneThatMayNotOwn(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b", "c"}, nodeOptions{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	p.do(func() { p.choice, p.full = "c", "b" })
	stale := serveWith(t, &staleFind{Peers: a.peers, place: a.peers.Place("b")})
	stale.join("lesson", "")
	if len(b.room.in("lesson")) != 0 || len(c.room.in("lesson")) != 1 {
		t.Error("the client is not with the one that may own the channel")
	}
}

// TestUnclaimedWhereItDrains proves that a channel that was opened without a claim, and
// cannot get one since its media server drains, is handed over: others would open it anew.
func TestUnclaimedWhereItDrains(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{withoutClaim: peers.Serve})
	a, b := nodes[0], nodes[1]
	p.do(func() { p.away = true })
	b.deaf.Store(true)
	channel := hostedAt(t, a)
	first := a.join(channel, "")
	a.peers.Drain()
	p.do(func() {
		p.members["a"] = &forwardingv1.Member{Name: "a", PeerAddress: p.members["a"].GetPeerAddress(), Draining: true}
		p.away = false
	})
	b.deaf.Store(false)
	p.introduce(nodes...)
	first.closed(1001, "SHUTDOWN")
	a.join(channel, "")
	b.join(channel, "")
	if p.owner(channel) != "b" || len(b.room.in(channel)) != 2 {
		t.Error("the clients do not meet at the other media server")
	}
}

// TestUnclaimedWhereNobodyElseIs proves that such a channel goes on where no other media
// server could take it.
func TestUnclaimedWhereNobodyElseIs(t *testing.T) {
	t.Parallel()
	p := newPlane()
	a := p.start(t, []string{"a"}, nodeOptions{withoutClaim: peers.Serve})[0]
	p.do(func() { p.away = true })
	a.join("lesson", "")
	a.peers.Drain()
	p.do(func() {
		p.members["a"] = &forwardingv1.Member{Name: "a", PeerAddress: p.members["a"].GetPeerAddress(), Draining: true}
		p.away = false
	})
	p.introduce(a)
	until(t, "claims to be refused", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()

		return p.refused > 1
	})
	if len(a.room.in("lesson")) != 1 {
		t.Error("the client is sent away")
	}
}

// TestHandOverOfWhatIsClaimed proves that a channel whose claim is under way when its media
// server is to hand over is handed over too, and not left to it.
func TestHandOverOfWhatIsClaimed(t *testing.T) {
	t.Parallel()
	p := newPlane()
	p.claims = make(chan struct{})
	a := p.start(t, []string{"a"}, nodeOptions{})[0]
	c := a.connect("lesson", "")
	until(t, "the claim to be under way", func() bool { return a.peers.Hosted() == 1 })
	a.peers.Drain()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	handed := make(chan struct{})
	go func() {
		defer close(handed)
		a.peers.HandOver(ctx, patience)
	}()
	select {
	case p.claims <- struct{}{}:
	case <-time.After(patience):
		t.Fatal("nobody claims")
	}
	<-handed
	c.closed(1001, "SHUTDOWN")
	if p.owner("lesson") != "" || a.peers.Hosted() != 0 {
		t.Errorf("%q owns the channel after the hand-over", p.owner("lesson"))
	}
}

// TestDrainsWhileItIsFound proves that a channel that was opened while its media server began
// to drain keeps its claim when somebody finds it then.
func TestDrainsWhileItIsFound(t *testing.T) {
	t.Parallel()
	p := newPlane()
	p.locates = make(chan struct{})
	a := p.start(t, []string{"a", "b"}, nodeOptions{})[0]
	for range 2 {
		a.connect("lesson", "")
	}
	until(t, "both to ask", func() bool { return p.located.Load() == 2 })
	p.locates <- struct{}{}
	until(t, "the first one to be in the channel", func() bool { return len(a.room.in("lesson")) == 1 })
	a.peers.Drain()
	close(p.locates)
	until(t, "the second one to be in the channel", func() bool { return len(a.room.in("lesson")) == 2 })
	if p.owner("lesson") != "a" {
		t.Error("the claim of a channel that goes on is released")
	}
}

// TestManyForgedPasses proves that who shows many passes that are not believed does not
// fill the log.
func TestManyForgedPasses(t *testing.T) {
	t.Parallel()
	p := newPlane()
	a := p.start(t, []string{"a"}, nodeOptions{pace: 1})[0]
	const shown = 50
	for range shown {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.server.URL+peers.SignalingPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(peers.Header, "nonsense")
		response, err := a.server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("a forged pass is answered %s", response.Status)
		}
	}
	logged := strings.Count(a.log.String(), "a pass is not believed")
	if counted := a.metric("nagi_signaling_refused_total"); logged == 0 || logged == shown || counted != shown {
		t.Errorf("%d are logged and %v counted of %d", logged, counted, shown)
	}
}

// TestAbleAgain proves that a media server whose claim failed once is believed to be able
// to claim again after a while, by those who hear no manager.
func TestAbleAgain(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{withoutClaim: peers.Serve})
	a, b := nodes[0], nodes[1]
	a.deaf.Store(true)
	p.do(func() { p.away = true })
	c := b.join(hostedAt(t, b), "")
	c.send(`{"type":"disconnect"}`)
	c.closed(1000, "TYPE-DISCONNECT")
	until(t, "the channel to end", func() bool { return b.peers.Hosted() == 0 })
	theirs := hostedAt(t, a)
	p.do(func() { p.away = false })
	until(t, "the other to be found, which hears a manager", func() bool {
		place, err := a.peers.Find(t.Context(), theirs, false)

		return err == nil && place != nil && place.Name == "b"
	})
}

// hostedAt is a channel that a media server would open without a claim.
func hostedAt(t *testing.T, n *node) string {
	t.Helper()
	for i := range 100 {
		id := fmt.Sprintf("channel-%d", i)
		place, err := n.peers.Find(t.Context(), id, false)
		if err != nil {
			t.Fatal(err)
		}
		if place == nil {
			return id
		}
	}
	t.Fatalf("%s opens no channel", n.name)

	return ""
}

var errFull = status.Error(codes.FailedPrecondition, "it has as many channels as it may")
