package signaling

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// burst is how many seconds' connections may come at once: those of a hall that has lost
// its media server.
const burst = 10

// pace bounds how fast connections come from each network.
type pace struct {
	perSecond int

	mu    sync.Mutex
	byNet map[netip.Prefix]*rate.Limiter
	// sweepAt is how many networks are remembered before those that are as good as
	// forgotten are.
	sweepAt int
}

// minSweep is how many networks are always remembered.
const minSweep = 1024

func newPace(perSecond int) *pace {
	return &pace{perSecond: perSecond, byNet: make(map[netip.Prefix]*rate.Limiter), sweepAt: minSweep}
}

// allow tells whether one more connection may come from a network now.
func (p *pace) allow(from netip.Prefix, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	limiter := p.byNet[from]
	if limiter == nil {
		if len(p.byNet) >= p.sweepAt {
			p.sweep(now)
		}
		limiter = rate.NewLimiter(rate.Limit(p.perSecond), burst*p.perSecond)
		p.byNet[from] = limiter
	}

	return limiter.AllowN(now, 1)
}

// sweep forgets the networks that may do again all that a new one may. The others have
// come within the last 10 s.
func (p *pace) sweep(now time.Time) {
	for from, limiter := range p.byNet {
		if limiter.TokensAt(now) >= float64(limiter.Burst()) {
			delete(p.byNet, from)
		}
	}
	p.sweepAt = max(minSweep, 2*len(p.byNet))
}
