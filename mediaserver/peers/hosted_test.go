package peers_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

// TestAtOnce proves that clients who come at once to different media servers for a new
// channel meet, whatever each one is told at first.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlane() // Locate names whoever asks, which is the worst that it may say.
	nodes := p.start(t, []string{"a", "b", "c"}, nodeOptions{})
	for round := range 50 {
		channel := fmt.Sprintf("lesson-%d", round)
		clients := make([]*client, 6)
		var connecting sync.WaitGroup
		for i := range clients {
			c := nodes[i%3].dial()
			clients[i] = c
			connecting.Go(func() { c.send(`{"type":"connect","role":"sendrecv","channel_id":"` + channel + `"}`) })
		}
		connecting.Wait()
		hosts := 0
		for _, c := range clients {
			c.receive("offer")
		}
		for _, n := range nodes {
			if members := len(n.room.in(channel)); members == len(clients) {
				hosts++
			} else if members != 0 {
				t.Errorf("round %d: %s has %d of %d clients", round, n.name, members, len(clients))
			}
		}
		if hosts != 1 {
			t.Errorf("round %d: the channel is split", round)
		}
		for _, c := range clients {
			c.send(`{"type":"disconnect"}`)
			c.closed(1000, "TYPE-DISCONNECT")
		}
	}
	until(t, "all to be released", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()

		return len(p.owners) == 0
	})
}

// TestEndIsAwaited proves that nobody is let in between a channel's end and its release.
func TestEndIsAwaited(t *testing.T) {
	t.Parallel()
	p := newPlane()
	a := p.start(t, []string{"a"}, nodeOptions{})[0]
	c := a.join("lesson", "")
	p.mu.Lock() // No manager answers.
	c.send(`{"type":"disconnect"}`)
	c.closed(1000, "TYPE-DISCONNECT")
	until(t, "the client to leave", func() bool { return len(a.room.in("lesson")) == 0 })
	again := a.connect("lesson", "")
	if len(a.room.in("lesson")) != 0 {
		t.Error("a client is in the channel before its end is over")
	}
	p.mu.Unlock()
	again.receive("offer")
	p.do(func() {
		if p.owners["lesson"] != "a" || len(p.released) != 1 {
			t.Errorf("owner %q after the releases %v", p.owners["lesson"], p.released)
		}
	})
}

// TestHandOver proves what draining does: channels are released and their clients told, one
// after another, and they meet at another media server; new ones are not opened here.
func TestHandOver(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{})
	a, b := nodes[0], nodes[1]
	first, second := a.join("lesson", ""), b.join("lesson", "")
	other := a.join("other", "")
	if len(a.room.in("lesson")) != 2 {
		t.Fatal("both are to be with the first one's media server")
	}
	a.drains()
	p.introduce(nodes...)
	a.join("new", "")
	if p.owner("new") != "b" || len(b.room.in("new")) != 1 {
		t.Error("a new channel is opened where it drains")
	}
	a.join("lesson", "") // What is here goes on.
	if len(a.room.in("lesson")) != 3 {
		t.Error("nobody is let into a channel that goes on")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a.peers.AwaitDraining(ctx)
	a.peers.HandOver(ctx, patience)
	for _, c := range []*client{first, second, other} {
		c.closed(1001, "SHUTDOWN")
	}
	a.join("lesson", "")
	b.join("lesson", "")
	if p.owner("lesson") != "b" || len(b.room.in("lesson")) != 2 || p.owner("other") != "" {
		t.Error("the clients do not meet at the other media server")
	}
	if a.peers.Hosted() != 0 || a.metric("nagi_peers_hand_overs_total") != 2 {
		t.Errorf("%d channels are left, %v handed over", a.peers.Hosted(), a.metric("nagi_peers_hand_overs_total"))
	}
}

// TestDrainingAlone proves that whom nobody can take is told to come again.
func TestDrainingAlone(t *testing.T) {
	t.Parallel()
	p := newPlane()
	a := p.start(t, []string{"a"}, nodeOptions{withoutClaim: peers.Serve})[0]
	p.do(func() { p.away = true })
	a.peers.Drain()
	a.connect("lesson", "").closed(1001, "SHUTDOWN")
}

// TestWithoutManagers proves that channels that are hosted go on without the managers, for
// those who come to other media servers too; that a new one opens at one alone, and is
// claimed as soon as that can be.
func TestWithoutManagers(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b", "c"}, nodeOptions{withoutClaim: peers.Serve})
	nodes[0].join("old", "")
	p.do(func() { p.away = true })
	for _, n := range nodes {
		n.join("old", "")
		n.join("new", "")
	}
	if got := len(nodes[0].room.in("old")); got != 4 {
		t.Errorf("the channel that goes on has %d clients, want 4", got)
	}
	host := (*node)(nil)
	for _, n := range nodes {
		if members := len(n.room.in("new")); members == 3 {
			host = n
		} else if members != 0 {
			t.Errorf("%s has %d clients of the new channel", n.name, members)
		}
	}
	if host == nil {
		t.Fatal("the new channel is split")
	}
	if host.metric("nagi_peers_opened_without_claim_total") != 1 || host.metric("nagi_peers_channels_without_claim") != 1 {
		t.Error("that it has no claim is not counted")
	}
	p.do(func() { p.away = false })
	until(t, "the claim", func() bool { return p.owner("new") == host.name })
	until(t, "the count", func() bool { return host.metric("nagi_peers_channels_without_claim") == 0 })
}

// TestDeaf proves that one that hears no manager, as nobody else does not, opens nothing by
// itself: those who hear one claim the channel.
func TestDeaf(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b", "c"}, nodeOptions{withoutClaim: peers.Serve})
	a := nodes[0]
	a.deaf.Store(true)
	for i := range 10 {
		channel := fmt.Sprintf("lesson-%d", i)
		clients := []*client{a.connect(channel, ""), nodes[1+i%2].connect(channel, "")}
		for _, c := range clients {
			c.receive("offer")
		}
		owner := p.owner(channel)
		for _, n := range nodes {
			if members := len(n.room.in(channel)); members != 0 && (n.name != owner || members != 2) {
				t.Errorf("%s has %d clients of %s, which is %q's", n.name, members, channel, owner)
			}
		}
	}
	if a.metric("nagi_peers_opened_without_claim_total") != 0 {
		t.Error("a channel was opened without a claim")
	}
}

// TestLoser proves that one that served a channel without a claim hands it over when it
// is another's, and that a claim that is lost from sight is made again.
func TestLoser(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{withoutClaim: peers.Serve})
	a, b := nodes[0], nodes[1]
	mine, theirs := a.join("mine", ""), a.join("theirs", "")
	p.do(func() {
		delete(p.owners, "mine")
		p.owners["theirs"] = "b"
	})
	a.peers.Unclaimed("mine")
	a.peers.Unclaimed("theirs")
	a.peers.Unclaimed("nobody's")
	theirs.closed(1001, "SHUTDOWN")
	until(t, "the claim to be made again", func() bool { return p.owner("mine") == "a" })
	a.join("theirs", "")
	if len(b.room.in("theirs")) != 1 || p.owner("theirs") != "b" {
		t.Error("the client is not with the owner")
	}
	// So it is when no manager was heard for a while.
	p.do(func() { delete(p.owners, "mine") })
	a.peers.Left("manager")
	until(t, "the claim to be made again", func() bool { return p.owner("mine") == "a" })
	mine.send(`{"type":"disconnect"}`)
	mine.closed(1000, "TYPE-DISCONNECT")
}

// TestRefuse proves that nothing is opened without a claim where that is refused.
func TestRefuse(t *testing.T) {
	t.Parallel()
	p := newPlane()
	a := p.start(t, []string{"a"}, nodeOptions{withoutClaim: peers.Refuse})[0]
	old := a.join("old", "")
	p.do(func() { p.away = true })
	a.connect("new", "").closed(4490, "CHANNEL-UNCLAIMED")
	a.join("old", "")
	old.send(`{"type":"disconnect"}`)
}

// TestReleasedLater proves that a channel that ends while nobody can be told is released
// later, but for one that has been opened again.
func TestReleasedLater(t *testing.T) {
	t.Parallel()
	p := newPlane()
	a := p.start(t, []string{"a"}, nodeOptions{withoutClaim: peers.Serve})[0]
	gone, back := a.join("gone", ""), a.join("back", "")
	p.do(func() { p.away = true })
	for _, c := range []*client{gone, back} {
		c.send(`{"type":"disconnect"}`)
		c.closed(1000, "TYPE-DISCONNECT")
	}
	until(t, "both to end", func() bool { return a.peers.Hosted() == 0 })
	a.join("back", "")
	p.do(func() { p.away = false })
	until(t, "the release", func() bool { return p.owner("gone") == "" })
	if p.owner("back") != "a" || len(a.room.in("back")) != 1 {
		t.Error("what was opened again is not claimed")
	}
}
