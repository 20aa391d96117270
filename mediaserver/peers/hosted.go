package peers

import (
	"context"
	"errors"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// phase is how far a channel is, as its media server sees it.
type phase int

const (
	claiming phase = iota // the first one is let in once the claim is made
	open
	ending // nobody is let in any more
)

// hosted is a channel that is hosted here. Peers.mu guards it.
type hosted struct {
	phase phase
	// opening is the latest number that the channel was claimed with, or is to be.
	opening uint64
	// claimed tells that the channel is ours by claim, and doubtful that this has to be
	// made sure of.
	claimed, doubtful bool
	stays             map[*stay]struct{}
	// begun is closed when the claiming has come to its outcome, and over when the channel is
	// not here any more.
	begun, over chan struct{}
	outcome     outcome
	// empty is closed when the last one has left a channel that is handed over.
	empty chan struct{}
}

func newHosted(phase phase, opening uint64) *hosted {
	return &hosted{
		phase: phase, opening: opening, stays: make(map[*stay]struct{}),
		begun: make(chan struct{}), over: make(chan struct{}),
	}
}

// outcome is whose a channel is: ours if all is zero.
type outcome struct {
	elsewhere *Place
	err       error
}

// stay is one client's in a channel.
type stay struct {
	// evict has the client closed and its stay end; it does not block.
	evict func()
}

// hosts tells others whether a channel is hosted here, or would be again: its claim has not
// been released.
func (p *Peers) hosts(channelID string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.channels[channelID]
	_, owed := p.owed[channelID]

	return h != nil && h.phase == open || owed && !p.draining
}

// awaitEnd tells whether a channel is hosted here, once it does not end any more.
func (p *Peers) awaitEnd(ctx context.Context, channelID string) (here bool, err error) {
	for {
		p.mu.Lock()
		h := p.channels[channelID]
		if h == nil || h.phase != ending {
			p.mu.Unlock()

			return h != nil, nil
		}
		p.mu.Unlock()
		select {
		case <-h.over:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// Enter makes sure that a channel is this media server's, and stays so until leave, which
// is called once. Where it turns out to be another's that one is returned, and leave is
// nil. Whoever has to go meanwhile is evicted. Passed is as in Find.
func (p *Peers) Enter(
	ctx context.Context, channelID string, passed bool, evict func(),
) (leave func(), elsewhere *Place, err error) {
	for {
		p.mu.Lock()
		h := p.channels[channelID]
		switch {
		case h == nil && p.draining:
			p.mu.Unlock()

			return nil, nil, ErrMoved
		case h == nil:
			p.opening++
			h = newHosted(claiming, p.opening)
			p.channels[channelID] = h
			p.mu.Unlock()

			return p.begin(ctx, h, channelID, passed, evict)
		case h.phase == open:
			leave := p.stay(h, channelID, evict)
			p.mu.Unlock()

			return leave, nil, nil
		}
		p.mu.Unlock()
		select {
		case <-h.begun: // Long ago, where the channel ends.
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		if h.outcome != (outcome{}) {
			return nil, h.outcome.elsewhere, h.outcome.err
		}
		if h.ends(p) {
			// It may be another's now; finding it waits for the end.
			return nil, nil, ErrMoved
		}
	}
}

func (h *hosted) ends(p *Peers) bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	return h.phase == ending
}

// begin claims a channel, and lets the first one in if it is ours.
func (p *Peers) begin(
	ctx context.Context, h *hosted, channelID string, passed bool, evict func(),
) (leave func(), elsewhere *Place, err error) {
	// The claim is not given up with the client who wanted it: others wait for it.
	claimed, result := p.claimOrServe(context.WithoutCancel(ctx), h, channelID, passed)
	p.mu.Lock()
	defer p.mu.Unlock()
	h.outcome = result
	close(h.begun)
	if result != (outcome{}) {
		delete(p.channels, channelID)

		return nil, result.elsewhere, result.err
	}
	h.phase, h.claimed = open, claimed
	delete(p.owed, channelID)
	if !claimed {
		p.metrics.withoutClaim.Inc()
		p.config.Log.Warn("a channel is opened without a claim, since no manager can say whose it is", "channel", channelID)
		signal(p.wake)
	}

	return p.stay(h, channelID, evict), nil, nil
}

// stay lets one in. p.mu is held.
func (p *Peers) stay(h *hosted, channelID string, evict func()) (leave func()) {
	s := &stay{evict: evict}
	h.stays[s] = struct{}{}

	return func() { p.leave(h, s, channelID) }
}

// leave ends a stay; with the last one ends the channel.
func (p *Peers) leave(h *hosted, s *stay, channelID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(h.stays, s)
	if len(h.stays) > 0 {
		return
	}
	switch h.phase {
	case open:
		h.phase = ending
		p.ended[channelID] = h.opening
		signal(p.releasing)
	case ending:
		close(h.empty)
	case claiming:
	}
}

// over takes out a channel that has ended, and lets go on whoever waited for that. p.mu is
// held.
func (p *Peers) over(channelID string) {
	if h := p.channels[channelID]; h != nil && h.phase == ending {
		delete(p.channels, channelID)
		close(h.over)
	}
}

// claimOrServe claims a channel; without a manager it may be served without.
func (p *Peers) claimOrServe(
	ctx context.Context, h *hosted, channelID string, passed bool,
) (claimed bool, result outcome) {
	owner, err := p.claim(ctx, h, channelID)
	switch {
	case errors.Is(err, errAway):
		elsewhere, err := p.findAlone(ctx, channelID, passed, nil)
		if elsewhere == nil && err == nil && p.config.WithoutClaim == Refuse && !p.isOwed(channelID) {
			err = ErrUnclaimed
		}

		return false, outcome{elsewhere, err}
	case err != nil:
		return false, outcome{nil, err}
	case owner.GetName() != p.config.Name:
		return false, outcome{placeOf(owner), nil}
	}

	return true, outcome{}
}

// claim makes this media server a channel's owner, or tells who is.
func (p *Peers) claim(ctx context.Context, h *hosted, channelID string) (*forwardingv1.Member, error) {
	p.mu.Lock()
	request := &forwardingv1.ClaimRequest{
		Namespace: p.config.Namespace, MediaServer: p.config.Name, ChannelId: channelID, Opening: h.opening,
	}
	p.mu.Unlock()
	response, err := askAll(ctx, p.config.Placements(),
		func(ctx context.Context, client forwardingv1.PlacementClient) (*forwardingv1.ClaimResponse, error) {
			return client.Claim(ctx, request)
		})
	if p.failed.Store(nil); errors.Is(err, errAway) {
		now := time.Now()
		p.failed.Store(&now)
	}
	if response.GetOwner().GetName() == p.config.Name {
		p.claimedFor(h, channelID, response.GetOpening())
	}

	return response.GetOwner(), err
}

// claimedFor notes the opening that a channel is claimed for, as a manager says: a greater
// one than it was asked for where the clock has been set back before this process began.
func (p *Peers) claimedFor(h *hosted, channelID string, opening uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.opening = max(h.opening, opening)
	p.opening = max(p.opening, opening)
	if now := p.channels[channelID]; h.phase == ending && (now == nil || now.phase == ending) {
		p.owe(channelID, h.opening) // It may have been released before.
	}
}
