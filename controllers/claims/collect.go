package claims

import (
	"context"
	"time"
)

const (
	// abandonedAfter is after how long of silence the claims of a media server that is no
	// pod are given up: the same as --media-server-lost has by itself.
	abandonedAfter = 10 * time.Minute
	// unservedAfter is how long claims of a namespace that this manager does not serve are
	// kept: one of another version or configuration, which does, may be about to take over.
	unservedAfter = 10 * time.Minute
)

// Hosting is what a replica has heard of the media servers of one namespace, and of what
// they host.
type Hosting interface {
	Witness
	// Unused tells that the media server streams, has reported all that it hosts, and
	// does not host the channel.
	Unused(holder Holder, channelID string) bool
	// OutOfTouch are the pods that are out of touch, and may host channels still: by name
	// alone where no more is known of them.
	OutOfTouch() []Holder
	// PodGone takes that the pod is gone, is another one, or has come to its end; where it is
	// known by name alone, that no such pod lives.
	PodGone(holder Holder)
}

// Collect deletes the claims that are left over, until ctx ends: of pods that are gone, of
// owners that do not use them, and of namespaces that are not served. hosting is of each
// served namespace. One replica at a time has to do this; that two do harms nothing, since
// a claim is deleted only as it was when it was looked at, so that a renewal in between
// wins.
func (c *Claims) Collect(ctx context.Context, hosting map[string]Hosting) {
	ticker := time.NewTicker(c.config.CollectEvery)
	defer ticker.Stop()
	s := &sweep{claims: c, hosting: hosting}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.pass(ctx, time.Now())
		}
	}
}

// sweep is what a collector remembers from one pass to the next.
type sweep struct {
	claims  *Claims
	hosting map[string]Hosting
	last    time.Time
	// waiting has the claims that are to be collected unless something changes, by name.
	waiting map[string]leftOver
	// unread are the namespaces, in this pass, a pod of which could not be read: theirs wait
	// for the next one, so that nobody else's wait behind them.
	unread map[string]bool
}

type leftOver struct {
	version uint64
	because string
	since   time.Time
}

func (s *sweep) pass(ctx context.Context, now time.Time) {
	c := s.claims
	if now.Sub(s.last) > 3*c.config.CollectEvery {
		// It has just begun, or this process stood still: what it knows may be of before.
		s.waiting = nil
	}
	began := time.Now()
	defer func() { s.last = now.Add(time.Since(began)) }() // A pass may take long, and is no standing still.
	s.unread = map[string]bool{}
	c.mu.Lock()
	held, known := make([]*claim, 0, len(c.held)), c.known
	for _, each := range c.held {
		held = append(held, each)
	}
	c.mu.Unlock()
	if !known {
		s.waiting = nil

		return
	}
	before := s.waiting
	s.waiting = make(map[string]leftOver, len(before))
	for _, each := range held {
		if ctx.Err() != nil {
			return
		}
		because, after := s.judge(ctx, each)
		if because == "" {
			continue
		}
		l, waits := before[each.name]
		if !waits || l.version != each.version || l.because != because {
			l = leftOver{each.version, because, now}
		}
		if now.Sub(l.since) >= after {
			s.collect(ctx, each, because)
		}
		s.waiting[each.name] = l
	}
}

// judge tells why a claim is left over, and for how long it must have been; empty: it is
// not.
func (s *sweep) judge(ctx context.Context, held *claim) (because string, after time.Duration) {
	c := s.claims
	hosting := s.hosting[held.namespace]
	switch {
	case hosting == nil:
		return becauseUnserved, unservedAfter
	case hosting.Unused(held.holder, held.channelID):
		return becauseUnused, c.config.UnusedFor
	}
	silence := hosting.Silence(held.holder)
	switch {
	case silence == 0:
		return "", 0
	case c.config.Pods && s.unread[held.namespace]:
	case c.config.Pods:
		state, err := c.podOf(ctx, held.namespace, held.holder)
		if s.unread[held.namespace] = err != nil; err == nil && state == podGone {
			return becausePodGone, 0
		}
	case silence >= abandonedAfter:
		if reached, _ := hosting.Reached(ctx, held.holder, held.address); !reached {
			return becauseSilent, 0
		}
	}

	return "", 0
}

func (s *sweep) collect(ctx context.Context, held *claim, because string) {
	c := s.claims
	switch deleted, err := c.remove(ctx, held); {
	case err != nil && ctx.Err() == nil:
		c.metrics.failures.Inc()
		c.log.Warn("a claim that is left over was not deleted; tried again",
			"namespace", held.namespace, "channel", held.channelID, "mediaServer", held.holder.Name,
			"err", advise(err, c.config.Namespace))
	case deleted:
		c.metrics.collected.WithLabelValues(because).Inc()
		c.log.Info("a claim that was left over is collected", "namespace", held.namespace, "channel", held.channelID,
			"mediaServer", held.holder.Name, "because", because)
	}
}
