package peers_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

// hosts has a media server host so many channels with a client each. evicted is called once
// for each that is told to go; the client leaves by what it is given, or by what is returned.
func (n *node) hosts(channels int, evicted func(channelID string, leave func())) (leaves []func()) {
	n.Helper()
	for i := range channels {
		id := fmt.Sprintf("lesson-%04d", i)
		var leave func()
		evict := sync.OnceFunc(func() { go func() { evicted(id, leave) }() })
		left, elsewhere, err := n.peers.Enter(n.Context(), id, false, evict)
		if err != nil || elsewhere != nil {
			n.Fatalf("%s: %v, %v", id, elsewhere, err)
		}
		leave = left
		leaves = append(leaves, left)
	}

	return leaves
}

// TestWhoDoesNotLeaveHoldsUpNobody proves that channels are handed over one after another,
// each released before its clients are told, and that none waits for the clients of another.
func TestWhoDoesNotLeaveHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const channels = 50
	p := newPlane()
	a := p.start(t, []string{"a", "b"}, nodeOptions{})[0]
	var told sync.WaitGroup
	told.Add(channels)
	a.hosts(channels, func(id string, leave func()) {
		if p.owner(id) != "" {
			t.Errorf("the clients of %s are told before it is released", id)
		}
		told.Done()
		told.Wait() // Nobody leaves before all have been told.
		leave()
	})
	a.drains()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a.peers.HandOver(ctx, patience)
	if ctx.Err() != nil || a.peers.Hosted() != 0 {
		t.Errorf("%d channels are left: %v", a.peers.Hosted(), ctx.Err())
	}
	p.do(func() {
		if len(p.released) != channels {
			t.Errorf("%d requests for %d channels: not one after another", len(p.released), channels)
		}
	})
}

// TestThousandsAreHandedOverInTime proves what becomes of channels that have not had their
// turn when the time for turns is over: all are released, in few requests, and then told.
func TestThousandsAreHandedOverInTime(t *testing.T) {
	t.Parallel()
	const channels = 2500
	p := newPlane()
	a := p.start(t, []string{"a", "b"}, nodeOptions{withoutClaim: peers.Serve})[0]
	var told atomic.Int64
	a.hosts(channels, func(id string, leave func()) {
		if p.owner(id) != "" {
			t.Errorf("the clients of %s are told before it is released", id)
		}
		told.Add(1)
		leave()
	})
	a.drains()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a.peers.HandOver(ctx, 0)
	if told.Load() != channels || a.peers.Hosted() != 0 || a.metric("nagi_peers_hand_overs_total") != channels {
		t.Errorf("%d of %d were told, %d are left", told.Load(), channels, a.peers.Hosted())
	}
	p.do(func() {
		var sizes []int
		for _, request := range p.released {
			sizes = append(sizes, len(request.GetOpenings()))
		}
		if !slices.Equal(sizes, slices.Repeat([]int{250}, channels/250)) {
			t.Errorf("released by %v", sizes)
		}
	})

	// A second signal ends it.
	c := p.newNode(t, "c", nodeOptions{})
	leaves := c.hosts(1, func(string, func()) { t.Error("a client is told to go elsewhere though nobody waits for that") })
	over, end := context.WithCancel(t.Context())
	end()
	c.peers.HandOver(over, patience)
	c.peers.HandOver(over, 0)
	leaves[0]()
	until(t, "its end", func() bool { return c.peers.Hosted() == 0 })
}
