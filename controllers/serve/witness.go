package serve

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/claims"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

const (
	// reachTimeout bounds the attempt of media servers to reach one of them. A client
	// waits for what comes of it.
	reachTimeout = time.Second
	// reachedFor is how long what came of it counts: who asks for many channels of one
	// media server has it tried once.
	reachedFor = time.Second
	// maxReaches bounds what is remembered of that.
	maxReaches = 1000
)

// witness is what this replica has heard of the media servers of a namespace; it
// implements claims.Hosting.
type witness struct {
	server    *Server
	namespace string
	tenant    *knowledge.Tenant
}

// Hosting is what this replica hears of each namespace's media servers, for the collection
// of claims.
func (s *Server) Hosting() map[string]claims.Hosting {
	hosting := map[string]claims.Hosting{}
	for _, namespace := range s.config.Knowledge.Namespaces() {
		hosting[namespace] = witness{s, namespace, s.config.Knowledge.Tenant(namespace)}
	}

	return hosting
}

func (w witness) Silence(of claims.Holder) time.Duration { return w.tenant.Silence(of, time.Now()) }

func (w witness) Ended(holder claims.Holder) time.Time { return w.tenant.Ended(holder) }

func (w witness) Unused(holder claims.Holder, channelID string) bool {
	return w.tenant.Unused(holder, channelID)
}

func (w witness) OutOfTouch() []claims.Holder { return w.tenant.OutOfTouch() }

func (w witness) PodGone(holder claims.Holder) { w.tenant.PodGone(holder, time.Now()) }

func (w witness) PeerAddress(of claims.Holder) string { return w.tenant.Member(of).GetPeerAddress() }

func (w witness) Reached(ctx context.Context, holder claims.Holder, address string) (bool, error) {
	member := w.tenant.Member(holder)
	if member.GetPeerAddress() == "" {
		member = &forwardingv1.Member{Name: holder.Name, PodUid: holder.PodUID, PeerAddress: address}
	}

	return w.server.reaches.ask(w.namespace, holder, func() (bool, error) {
		// Whoever else waits for the answer is not to lose it when the first one goes.
		return w.server.reach(context.WithoutCancel(ctx), w.tenant, member)
	})
}

// reach asks all other media servers whether they reach this one. One that does is enough;
// that none does has to be said by somebody.
func (s *Server) reach(ctx context.Context, t *knowledge.Tenant, member *forwardingv1.Member) (bool, error) {
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	var reached, answered atomic.Bool
	var group errgroup.Group
	for _, session := range t.Others(member.GetName()) {
		group.Go(func() error {
			q := &question{
				patience: reachTimeout, message: &forwardingv1.Question{Asks: &forwardingv1.Question_Reach{Reach: member}},
			}
			answer, err := s.ask(ctx, session, q)
			if err != nil {
				return nil // Who does not answer says nothing.
			}
			answered.Store(true)
			if answer.GetCount() > 0 {
				reached.Store(true)
				enough()
			}

			return nil
		})
	}
	_ = group.Wait()
	if !answered.Load() {
		return false, unavailable("no media server says whether it reaches %q: ask again", member.GetName())
	}

	return reached.Load(), nil
}

// reaches remembers for a moment who was reached.
type reaches struct {
	flights singleflight.Group

	mu   sync.Mutex
	last map[string]reachedAt
}

type reachedAt struct {
	reached bool
	err     error
	at      time.Time
}

func (r *reaches) ask(namespace string, holder claims.Holder, try func() (bool, error)) (bool, error) {
	key := namespace + "/" + holder.Name + "/" + holder.PodUID
	r.mu.Lock()
	last, ok := r.last[key]
	r.mu.Unlock()
	if ok && time.Since(last.at) < reachedFor {
		return last.reached, last.err
	}
	answer, _, _ := r.flights.Do(key, func() (any, error) {
		reached, err := try()
		last := reachedAt{reached, err, time.Now()}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.last == nil || len(r.last) >= maxReaches {
			r.last = map[string]reachedAt{}
		}
		r.last[key] = last

		return last, nil
	})
	last = answer.(reachedAt)

	return last.reached, last.err
}
