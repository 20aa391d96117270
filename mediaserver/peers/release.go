package peers

import (
	"context"
	"maps"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// releasedAtOnce is how many channels go in one request. Managers and API server took 0.7 s
	// for so many on a machine with ten times the work that it can do; callTimeout is 2 s.
	releasedAtOnce = 250
	// maxOwed bounds the channels that are released later; what is beyond is left to the
	// managers, who collect it.
	maxOwed = 10_000
	// owedInterval is the time between two tries.
	owedInterval = 2 * time.Second
)

// release gives up the claims of channels that have ended, all that ended during one
// request in the next.
func (p *Peers) release(ctx context.Context) {
	again := time.NewTicker(owedInterval)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			// Nobody waits in vain for what is not released any more.
			for ended := p.takeEnded(); len(ended) > 0; ended = p.takeEnded() {
				p.settle(ended, false)
			}

			return
		case <-p.releasing:
		case <-again.C:
			p.releaseOwed(ctx)
		}
		for ended := p.takeEnded(); len(ended) > 0; ended = p.takeEnded() {
			p.settle(ended, p.releaseNow(ctx, ended))
		}
	}
}

// openings are channels, each with the number of its opening here.
type openings map[string]uint64

// takeEnded takes as many as go in one request.
func (p *Peers) takeEnded() openings {
	p.mu.Lock()
	defer p.mu.Unlock()
	ended := make(openings)
	for id, opening := range p.ended {
		if len(ended) == releasedAtOnce {
			break
		}
		ended[id] = opening
		delete(p.ended, id)
	}

	return ended
}

// settle ends channels whose claims were released, or are owed.
func (p *Peers) settle(ended openings, released bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, opening := range ended {
		if !released {
			p.owe(id, opening)
		}
		p.over(id)
	}
}

// owe has a claim be released later. p.mu is held.
func (p *Peers) owe(channelID string, opening uint64) {
	if _, owed := p.owed[channelID]; owed || len(p.owed) < maxOwed {
		p.owed[channelID] = max(opening, p.owed[channelID])
	}
}

// releaseOwed tries again what could not be released, but for what has been opened anew.
func (p *Peers) releaseOwed(ctx context.Context) {
	p.mu.Lock()
	owed := make(openings)
	for id, opening := range p.owed {
		// Who opens it meanwhile claims it after this: nobody is let in before.
		if p.channels[id] == nil && len(owed) < releasedAtOnce {
			p.channels[id] = newHosted(ending, opening)
			close(p.channels[id].begun)
			owed[id] = opening
		}
	}
	p.mu.Unlock()
	if len(owed) == 0 {
		return
	}
	released := p.releaseNow(ctx, owed)
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, opening := range owed {
		if released && p.owed[id] == opening {
			delete(p.owed, id)
		}
		p.over(id)
	}
}

func (p *Peers) isOwed(channelID string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, owed := p.owed[channelID]

	return owed && !p.draining
}

// Flush releases what has ended and is not released yet.
func (p *Peers) Flush(ctx context.Context) {
	p.releaseOwed(ctx)
	for ended := p.takeEnded(); len(ended) > 0; ended = p.takeEnded() {
		p.settle(ended, p.releaseNow(ctx, ended))
	}
}

// releaseLeftOver gives up a claim that an earlier process has made. For which opening claiming
// tells: for a later one than any here, where the clock has been set back since.
func (p *Peers) releaseLeftOver(ctx context.Context, channelID string) {
	p.mu.Lock()
	h := newHosted(ending, p.opening)
	p.mu.Unlock()
	if owner, err := p.claim(ctx, h, channelID); err != nil || owner.GetName() != p.config.Name {
		return
	}
	p.mu.Lock()
	ended := openings{channelID: h.opening}
	p.mu.Unlock()
	p.releaseNow(ctx, ended)
}

// releaseNow gives up claims, as many as go in one request, and tells whether a manager has
// taken that. It names the openings that have ended: where the request is held up on its way,
// the claim of a later one stays.
func (p *Peers) releaseNow(ctx context.Context, ended openings) bool {
	request := &forwardingv1.ReleaseRequest{Namespace: p.config.Namespace, MediaServer: p.config.Name}
	for id, opening := range ended {
		request.Openings = append(request.Openings, &forwardingv1.Opening{ChannelId: id, Number: opening})
	}
	_, err := askAll(ctx, p.config.Placements(),
		func(ctx context.Context, client forwardingv1.PlacementClient) (*forwardingv1.ReleaseResponse, error) {
			return client.Release(ctx, request)
		})
	if err != nil {
		p.config.Log.Debug("claims are released later", "channels", len(ended), "error", err)
	}

	return err == nil
}

// ids are the channels that are open here, or are being claimed, ordered.
func (p *Peers) ids() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := slices.Sorted(maps.Keys(p.channels))

	return slices.DeleteFunc(ids, func(id string) bool { return p.channels[id].phase == ending })
}
