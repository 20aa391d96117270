package peers_test

import (
	"context"
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
	channel := ""
	for _, id := range []string{"one", "two", "three", "four", "five", "six", "seven", "eight"} {
		place, err := a.peers.Find(t.Context(), id, false)
		if err != nil {
			t.Fatal(err)
		}
		if place == nil {
			channel = id

			break
		}
	}
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
		a.peers.HandOver(ctx)
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

var errFull = status.Error(codes.FailedPrecondition, "it has as many channels as it may")
