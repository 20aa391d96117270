package peers_test

import (
	"math"
	"testing"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

// ends has a client leave.
func (c *client) ends() {
	c.Helper()
	c.send(`{"type":"disconnect"}`)
	c.closed(1000, "TYPE-DISCONNECT")
}

// TestReleaseNamesTheOpening proves that a release that was held up on its way, and comes
// when the channel is open again, ends nothing: whether another manager has taken it
// meanwhile, or none has.
func TestReleaseNamesTheOpening(t *testing.T) {
	t.Parallel()
	p := newPlane()
	a := p.start(t, []string{"a"}, nodeOptions{withoutClaim: peers.Serve})[0]
	a.join("lesson", "").ends()
	until(t, "the release", func() bool { return p.owner("lesson") == "" })
	a.join("lesson", "")
	late := p.released[0]
	if _, err := p.Release(t.Context(), late); err != nil {
		t.Error(err)
	}
	if p.owner("lesson") != "a" {
		t.Error("a release of before has ended the claim")
	}

	other := a.join("other", "")
	opening := p.openings["other"]
	p.do(func() { p.away = true })
	other.ends()
	until(t, "it to end", func() bool { return a.peers.Hosted() == 1 })
	again := a.join("other", "")
	p.do(func() { p.away = false })
	until(t, "it to be claimed anew", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()

		return p.openings["other"] > opening
	})
	late.Openings[0].ChannelId, late.Openings[0].Number = "other", opening
	if _, err := p.Release(t.Context(), late); err != nil {
		t.Error(err)
	}
	if p.owner("other") != "a" {
		t.Error("a release of before has ended the claim")
	}
	again.ends()
	until(t, "its own release", func() bool { return p.owner("other") == "" })
}

// TestRenewedWhileItEnds proves that a claim that was being renewed when its channel ended,
// so that the renewal came after the release, is released again.
func TestRenewedWhileItEnds(t *testing.T) {
	t.Parallel()
	p := newPlane()
	p.claims = make(chan struct{})
	a := p.start(t, []string{"a"}, nodeOptions{})[0]
	c := a.connect("lesson", "")
	p.claims <- struct{}{}
	c.receive("offer")
	a.peers.Unclaimed("lesson")
	until(t, "the renewal to be under way", func() bool { return p.claiming.Load() == 2 })
	c.ends()
	until(t, "the release", func() bool { return p.owner("lesson") == "" })
	p.claims <- struct{}{}
	until(t, "the release of what was renewed", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()

		return len(p.released) == 2 && p.owners["lesson"] == ""
	})
}

// TestOpeningsAfterAClockThatWasSetBack proves that what an earlier process has claimed by a
// clock that went ahead is released nevertheless, and that later openings are later ones.
func TestOpeningsAfterAClockThatWasSetBack(t *testing.T) {
	t.Parallel()
	p := newPlane()
	const ahead = math.MaxInt64
	p.owners["lesson"], p.openings["lesson"] = "a", ahead
	a := p.start(t, []string{"a"}, nodeOptions{})[0]
	a.join("lesson", "").ends()
	until(t, "the release", func() bool { return p.owner("lesson") == "" })
	a.join("lesson", "")
	p.do(func() {
		if p.openings["lesson"] <= ahead {
			t.Errorf("the channel is claimed for opening %d", p.openings["lesson"])
		}
	})
}

// TestLeftOverWhereItDrains proves that a claim of before, of a channel that is not open at a
// media server that drains, is released when somebody comes for it.
func TestLeftOverWhereItDrains(t *testing.T) {
	t.Parallel()
	// By a clock that went ahead, also one that has been set back since.
	for _, opening := range []uint64{7, math.MaxInt64} {
		p := newPlane()
		p.owners["lesson"], p.openings["lesson"] = "a", opening
		nodes := p.start(t, []string{"a", "b"}, nodeOptions{})
		a, b := nodes[0], nodes[1]
		a.drains()
		b.join("lesson", "")
		if p.owner("lesson") != "b" || len(b.room.in("lesson")) != 1 {
			t.Errorf("of opening %d the client is not with one that takes channels", opening)
		}
	}
}

// drains has a media server drain, and the managers know it.
func (n *node) drains() {
	n.peers.Drain()
	n.plane.do(func() {
		address := n.plane.members[n.name].GetPeerAddress()
		n.plane.members[n.name] = &forwardingv1.Member{Name: n.name, PeerAddress: address, Draining: true}
	})
}
