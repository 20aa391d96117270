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

// HandOver ends all channels here, one after another, so that they go on elsewhere, and
// those that were being opened when Drain was called. What has not gone when ctx ends stays.
func (p *Peers) HandOver(ctx context.Context) {
	for ids := p.ids(); len(ids) > 0; ids = p.ids() {
		for _, id := range ids {
			if ctx.Err() != nil {
				return
			}
			p.handOver(ctx, id, becauseDraining)
		}
	}
}

// handOver ends one channel: nobody is let in, the claim is released, so that its clients
// meet at the next owner, and they are told to go there. It returns when they have left.
func (p *Peers) handOver(ctx context.Context, channelID, why string) {
	p.awaitBegun(ctx, channelID)
	p.mu.Lock()
	h := p.channels[channelID]
	if h == nil || h.phase != open {
		p.mu.Unlock()

		return
	}
	h.phase, h.empty = ending, make(chan struct{})
	released, ended := h.claimed, openings{channelID: h.opening}
	p.mu.Unlock()
	p.metrics.handOvers.WithLabelValues(why).Inc()
	if why == becauseDraining {
		released = p.releaseNow(ctx, ended)
	}

	p.mu.Lock()
	for s := range h.stays {
		s.evict()
	}
	if len(h.stays) == 0 {
		p.mu.Unlock()
	} else {
		p.mu.Unlock()
		awaitEmpty(ctx, h.empty)
	}
	p.settle(ended, released || why == becauseLost)
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

func awaitEmpty(ctx context.Context, empty <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}
