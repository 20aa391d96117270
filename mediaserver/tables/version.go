package tables

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// regressAfter is how long every replica must stay below a held version
	// before an older one is adopted.
	regressAfter = 10 * time.Second
	// watchInterval is how often that is looked at.
	watchInterval = time.Second
)

// channel is what is known of one channel's tables; guarded by Subscriber.mu.
type channel struct {
	id string
	// held is the table that the Host enforces; nil before the first.
	held *forwardingv1.Table
	// pending asks the settler for another look, settling tells that it runs.
	pending, settling bool
	// adopt lets the next table be older than the one held.
	adopt bool
	// belowSince is when every replica was first seen below held; zero: not so.
	belowSince time.Time
	// absent tells that the channel was not hosted at the last look.
	absent bool
}

// offered takes a table of a replica; the error is a *malformed or nil.
func (s *Subscriber) offered(st *stream, table *forwardingv1.Table) error {
	if bad := validate(table); bad != nil {
		return bad
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := st.reported[table.GetChannelId()]; !ok {
		return &malformed{notHosted, "the table's channel is not hosted here"}
	}
	st.version, st.versionKnown = table.GetVersion(), true
	s.noteStale(st, table.GetStale())
	s.arrivals++
	st.offers[table.GetChannelId()] = &offer{table: table, arrival: s.arrivals}
	delete(st.awaited, table.GetChannelId())
	s.noteReady(st)
	s.settle(table.GetChannelId())
	return nil
}

// heard takes a replica's statement of its version.
func (s *Subscriber) heard(st *stream, version *forwardingv1.ReplicaVersion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.version, st.versionKnown = version.GetVersion(), true
	s.noteStale(st, version.GetStale())
	st.confirmed = st.confirmed || st.complete
	s.noteReady(st)
}

// noteReady makes the subscriber ready when the stream's answer is complete. mu is held.
func (s *Subscriber) noteReady(st *stream) {
	if st.complete && st.confirmed && len(st.awaited) == 0 {
		s.ready = true
	}
}

// noteStale takes whether the replica vouches for its tables. mu is held.
func (s *Subscriber) noteStale(st *stream, stale bool) {
	turned := stale && !st.stale
	if turned {
		s.lastFresh = time.Now()
	}
	st.stale = stale
	if turned {
		s.settleUnheld()
	}
}

// settle has a goroutine of the channel look at what the replicas offer. One per
// channel: a slow fence delays neither other channels nor the streams' readers,
// and tables that arrive meanwhile are looked at together. mu is held.
func (s *Subscriber) settle(channelID string) {
	c := s.channels[channelID]
	if c == nil {
		c = &channel{id: channelID}
		s.channels[channelID] = c
	}
	c.pending, c.absent = true, false
	if !c.settling {
		c.settling = true
		s.settlers.Go(func() { s.settleChannel(c) })
	}
}

// settleUnheld looks again at the channels that may be waiting for a fresher
// answer than they were offered. mu is held.
func (s *Subscriber) settleUnheld() {
	for id, c := range s.channels {
		if c.held == nil {
			s.settle(id)
		}
	}
}

func (s *Subscriber) settleChannel(c *channel) {
	for s.takePending(c) {
		// A channel that everybody left and somebody joined again has lost its
		// table, and the version rule begins anew.
		forgotten := s.host.Acknowledgement(c.id) == nil
		table, apply := s.choose(c, forgotten)
		if apply {
			started := time.Now()
			s.host.Apply(table)
			s.metrics.applied.Inc()
			s.metrics.applySeconds.Observe(time.Since(started).Seconds())
		}
		s.settled(c, table, apply)
	}
}

func (s *Subscriber) takePending(c *channel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	pending := c.pending
	c.pending, c.settling = false, pending
	return pending
}

// choose picks the table that shall be held, and tells whether it must be applied
// for that. nil: nothing may be held yet.
func (s *Subscriber) choose(c *channel, forgotten bool) (table *forwardingv1.Table, apply bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if forgotten {
		c.held, c.belowSince = nil, time.Time{}
	}
	adopt := c.adopt && c.held != nil
	c.adopt = false

	best := s.bestOffer(c, adopt)
	switch {
	case best == nil:
		return c.held, false
	case c.held == nil:
		return best, true
	case adopt:
		s.metrics.regressions.Inc()
		return best, true
	case slices.EqualFunc(best.GetPauses(), c.held.GetPauses(), func(a, b *forwardingv1.Pause) bool { return proto.Equal(a, b) }):
		return best, false
	default:
		return best, true
	}
}

// bestOffer returns the newest table that a live replica offers; nil when none is
// as new as the one held (unless adopt), or when only stale ones are offered for
// a channel that holds none while a replica that has not answered yet may know
// better. mu is held.
func (s *Subscriber) bestOffer(c *channel, adopt bool) *forwardingv1.Table {
	var best *forwardingv1.Table
	var arrival uint64
	freshAwaited := false
	for st := range s.streams {
		o := st.offers[c.id]
		if o == nil {
			freshAwaited = freshAwaited || !st.stale
			continue
		}
		table := st.current(o)
		if adopt && st.stale || !adopt && c.held != nil && table.GetVersion() < c.held.GetVersion() {
			continue
		}
		if best == nil || table.GetVersion() > best.GetVersion() ||
			table.GetVersion() == best.GetVersion() && o.arrival > arrival {
			best, arrival = table, o.arrival
		}
	}
	if best.GetStale() && c.held == nil && freshAwaited {
		return nil
	}
	return best
}

// current returns the offer under the version that the replica is at, if that
// went backwards since: a replica that follows a restored backup pushes nothing
// where nothing changed, and its table is its word all the same. Subscriber.mu
// is held.
func (st *stream) current(o *offer) *forwardingv1.Table {
	if o.table.GetVersion() <= st.version {
		return o.table
	}
	return &forwardingv1.Table{
		ChannelId: o.table.GetChannelId(),
		Version:   st.version,
		Pauses:    o.table.GetPauses(),
		Stale:     o.table.GetStale(),
	}
}

// settled notes what is held now and has the replicas told: all of them if
// something changed, else those that wait for an answer.
func (s *Subscriber) settled(c *channel, table *forwardingv1.Table, applied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.held = table
	for st := range s.streams {
		o := st.offers[c.id]
		waits := o != nil && !o.answered && table != nil
		if waits {
			o.answered = true
			if !applied {
				s.countUnapplied(o.table, table)
			}
		}
		if applied || waits {
			st.mark(c.id, markAcknowledgement)
		}
	}
}

func (s *Subscriber) countUnapplied(offered, held *forwardingv1.Table) {
	if offered.GetVersion() < held.GetVersion() {
		s.metrics.older.Inc()
	} else {
		s.metrics.unchanged.Inc()
	}
}

// watchVersions applies the rule for restored backups and forgets channels that
// are hosted no longer, until ctx ends.
func (s *Subscriber) watchVersions(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.lookAtVersions()
		}
	}
}

func (s *Subscriber) lookAtVersions() {
	hosted := make(map[string]struct{})
	for _, id := range s.host.Hosted() {
		hosted[id] = struct{}{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	highest, known := s.highestVersion()
	regressed := 0
	for id, c := range s.channels {
		if _, ok := hosted[id]; !ok {
			// Gone at two looks: one alone may have been taken before the
			// channel was hosted and a table arrived.
			if c.absent && !c.settling {
				delete(s.channels, id)
			}
			c.absent = true
			continue
		}
		c.absent = false
		switch {
		case !known || c.held == nil || highest >= c.held.GetVersion():
			c.belowSince = time.Time{}
		case c.belowSince.IsZero():
			c.belowSince = time.Now()
		case time.Since(c.belowSince) >= regressAfter:
			c.belowSince, c.adopt = time.Time{}, true
			s.settle(id)
			regressed++
		}
	}
	if regressed > 0 {
		s.config.Log.Warn("every manager is at an older version than the tables held, as after a restored backup; adopting theirs",
			"version", highest, "channels", regressed)
	}
}

// highestVersion returns the highest version that a live replica is at; known is
// false unless one of them vouches for its tables. mu is held.
func (s *Subscriber) highestVersion() (highest uint64, known bool) {
	for st := range s.streams {
		if st.versionKnown {
			highest = max(highest, st.version)
			known = known || !st.stale
		}
	}
	return highest, known
}
