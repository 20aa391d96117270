package peers

import (
	"context"
	"maps"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// releasedAtOnce is how many channels go in one request.
	releasedAtOnce = 1000
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
			p.settle(p.takeEnded(), false)

			return
		case <-p.releasing:
		case <-again.C:
			p.releaseOwed(ctx)
		}
		for ids := p.takeEnded(); len(ids) > 0; ids = p.takeEnded() {
			p.settle(ids, p.releaseNow(ctx, ids))
		}
	}
}

func (p *Peers) takeEnded() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for id := range p.ended {
		if len(ids) == releasedAtOnce {
			break
		}
		ids = append(ids, id)
		delete(p.ended, id)
	}

	return ids
}

// settle ends channels whose claims were released, or are owed.
func (p *Peers) settle(ids []string, released bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if !released && len(p.owed) < maxOwed {
			p.owed[id] = struct{}{}
		}
		p.over(id)
	}
}

// releaseOwed tries again what could not be released, but for what has been opened anew.
func (p *Peers) releaseOwed(ctx context.Context) {
	p.mu.Lock()
	var ids []string
	for id := range p.owed {
		// Who opens it meanwhile claims it after this: nobody is let in before.
		if p.channels[id] == nil && len(ids) < releasedAtOnce {
			p.channels[id] = newHosted(ending)
			close(p.channels[id].begun)
			ids = append(ids, id)
		}
	}
	p.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	released := p.releaseNow(ctx, ids)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if released {
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
	for ids := p.takeEnded(); len(ids) > 0; ids = p.takeEnded() {
		p.settle(ids, p.releaseNow(ctx, ids))
	}
}

// releaseNow gives up claims, and tells whether a manager has taken that.
func (p *Peers) releaseNow(ctx context.Context, channelIDs []string) bool {
	for ids := range slices.Chunk(channelIDs, releasedAtOnce) {
		request := &forwardingv1.ReleaseRequest{
			Namespace: p.config.Namespace, MediaServer: p.config.Name, ChannelIds: ids,
		}
		_, err := askAll(ctx, p.config.Placements(),
			func(ctx context.Context, client forwardingv1.PlacementClient) (*forwardingv1.ReleaseResponse, error) {
				return client.Release(ctx, request)
			})
		if err != nil {
			p.config.Log.Debug("claims are released later", "channels", len(ids), "error", err)

			return false
		}
	}

	return true
}

// ids are the channels that are open here, or are being claimed, ordered.
func (p *Peers) ids() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := slices.Sorted(maps.Keys(p.channels))

	return slices.DeleteFunc(ids, func(id string) bool { return p.channels[id].phase == ending })
}
