package peers

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// renewInterval is the time between two tries to claim what is hosted without a claim.
	renewInterval = time.Second
	// renewedAtOnce bounds how many are claimed at a time.
	renewedAtOnce = 16
	// leaveTimeout bounds how long the clients of a channel may take to leave it.
	leaveTimeout = 5 * time.Second
)

// Why a channel was handed over: the values of the metric's label.
const (
	becauseDraining = "draining"
	becauseLost     = "lost"
)

// renewClaims claims what is hosted without a claim, or with one that is in doubt, as soon
// as a manager can say. What is another's is handed over.
func (p *Peers) renewClaims(ctx context.Context) {
	ticker := time.NewTicker(renewInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-ticker.C:
		}
		ids := p.toRenew()
		if len(ids) == 0 || len(p.config.Placements()) == 0 {
			continue
		}
		// Media servers that lost the same manager do not all come at once.
		select {
		case <-ctx.Done():
			return
		case <-time.After(rand.N(renewInterval / 10)):
		}
		p.renewAll(ctx, ids)
	}
}

func (p *Peers) toRenew() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for id, h := range p.channels {
		if h.phase == open && (!h.claimed || h.doubtful) {
			ids = append(ids, id)
		}
	}

	return ids
}

func (p *Peers) renewAll(ctx context.Context, ids []string) {
	places := make(chan struct{}, renewedAtOnce)
	var renewals sync.WaitGroup
	for _, id := range ids {
		places <- struct{}{}
		renewals.Go(func() {
			p.renew(ctx, id)
			<-places
		})
	}
	renewals.Wait()
}

func (p *Peers) renew(ctx context.Context, channelID string) {
	p.mu.Lock()
	h := p.channels[channelID]
	if h == nil || h.phase != open {
		p.mu.Unlock()

		return
	}
	h.doubtful = false // What is said from now on is of another time.
	p.mu.Unlock()
	owner, err := p.claim(ctx, h, channelID)
	switch {
	case errors.Is(err, ErrMoved) && p.directory.takes():
		p.config.Log.Warn("a channel without a claim may not be this media server's, and is handed over",
			"channel", channelID)
		p.handOver(ctx, channelID, becauseLost)
	case err != nil:
		p.mu.Lock()
		h.doubtful = true
		p.mu.Unlock()
	case owner.GetName() == p.config.Name:
		p.mu.Lock()
		h.claimed = true
		p.mu.Unlock()
	default:
		p.config.Log.Warn("a channel is another media server's, and is handed over", "channel", channelID,
			"owner", owner.GetName())
		p.handOver(ctx, channelID, becauseLost)
	}
}

// HandOver ends all channels here, so that they go on elsewhere, and those that were being
// opened when Drain was called: one after another for as long as within, and what is left then
// at once. Nobody waits for the clients of others to leave. When ctx ends the rest stays.
func (p *Peers) HandOver(ctx context.Context, within time.Duration) {
	turns, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var leaving sync.WaitGroup
	defer leaving.Wait()
	for ids := p.ids(); len(ids) > 0; ids = p.ids() {
		for len(ids) > 0 {
			if ctx.Err() != nil {
				return
			}
			atOnce := 1
			if turns.Err() != nil {
				atOnce = min(len(ids), releasedAtOnce)
			}
			leave := p.endFor(ctx, ids[:atOnce], becauseDraining)
			leaving.Go(leave)
			ids = ids[atOnce:]
		}
	}
}

// handOver ends one channel, so that it goes on elsewhere. It returns when its clients have left.
func (p *Peers) handOver(ctx context.Context, channelID, why string) {
	p.endFor(ctx, []string{channelID}, why)()
}

// endFor ends channels: nobody is let in, the claims are released, so that clients meet at the
// next owner, and they are told to go there. The function that it returns is to be called:
// that returns when they have left.
func (p *Peers) endFor(ctx context.Context, ids []string, why string) (awaitLeft func()) {
	for _, id := range ids {
		p.awaitBegun(ctx, id)
	}
	told, ended := make(map[string]*hosted, len(ids)), make(openings, len(ids))
	p.mu.Lock()
	for _, id := range ids {
		if h := p.channels[id]; h != nil && h.phase == open {
			h.phase, h.empty = ending, make(chan struct{})
			told[id], ended[id] = h, h.opening
		}
	}
	p.mu.Unlock()
	p.metrics.handOvers.WithLabelValues(why).Add(float64(len(ended)))
	released := why == becauseLost || len(ended) > 0 && p.releaseNow(ctx, ended)

	p.mu.Lock()
	for _, h := range told {
		for s := range h.stays {
			s.evict()
		}
	}
	p.mu.Unlock()

	return func() {
		ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
		defer cancel()
		for id, h := range told {
			select {
			case <-h.empty:
			case <-ctx.Done():
			}
			p.settle(openings{id: ended[id]}, released)
		}
	}
}

// awaitBegun returns once a channel is not being claimed any more.
func (p *Peers) awaitBegun(ctx context.Context, channelID string) {
	p.mu.Lock()
	h := p.channels[channelID]
	p.mu.Unlock()
	if h == nil {
		return
	}
	select {
	case <-h.begun:
	case <-ctx.Done():
	}
}
