package tables

import (
	"cmp"
	"maps"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// channel is what is known of one channel's tables; guarded by Subscriber.mu.
type channel struct {
	id string
	// held is the table that the Host enforces; nil before the first.
	held *held
	// pending asks the settler for another look, settling tells that it runs.
	pending, settling bool
	// settled is the arrival up to which the streams' tables have been looked at.
	settled uint64
	// looked is closed at the end of the next look; nil: nobody waits for it.
	looked chan struct{}
	// adopt lets the next table be older than the one held.
	adopt bool
	// belowSince is when every fresh replica was first seen below held; zero: not so.
	belowSince time.Time
	// absent tells that the channel was not hosted at the last look.
	absent bool
}

// held is the table that one instance of a channel enforces.
type held struct {
	instance, version uint64
	pauses            map[string]*forwardingv1.Pause
}

// decision is what a look at a channel led to.
type decision struct {
	// seen is the last arrival that was looked at.
	seen uint64
	// chosen tells that a table shall be held; its version then, and its instance.
	chosen            bool
	instance, version uint64
	// apply tells that the Host must be told; set and removed are what differs,
	// set is all of it when whole.
	apply, whole bool
	set          []*forwardingv1.Pause
	removed      []string
}

// channelOf returns the channel, known from now on. mu is held.
func (s *Subscriber) channelOf(channelID string) *channel {
	c := s.channels[channelID]
	if c == nil {
		c = &channel{id: channelID}
		s.channels[channelID] = c
	}

	return c
}

// heldOf returns the table held if it is of that instance, else nil.
func (c *channel) heldOf(instance uint64) *held {
	if c.held == nil || c.held.instance != instance {
		return nil
	}

	return c.held
}

// settle has a goroutine of the channel look at what the replicas state. One per
// channel: a slow fence delays neither other channels nor the streams' readers,
// and tables that arrive meanwhile are looked at together. mu is held.
func (s *Subscriber) settle(channelID string) {
	c := s.channelOf(channelID)
	c.pending, c.absent = true, false
	if !c.settling {
		c.settling = true
		s.settlers.Go(func() { s.settleChannel(c) })
	}
}

// settleUndecided looks again at the channels where it matters which replicas are
// there and vouch for their tables: those that hold none, and those of which some
// replica says something else. mu is held.
func (s *Subscriber) settleUndecided() {
	for id, c := range s.channels {
		if c.held == nil {
			s.settle(id)
		}
	}
	for st := range s.streams {
		for id, e := range st.exchanges {
			if e.statement != nil && len(e.statement.differs) > 0 {
				s.settle(id)
			}
		}
	}
}

func (s *Subscriber) settleChannel(c *channel) {
	for s.takePending(c) {
		d := s.choose(c)
		if d.apply {
			started := time.Now()
			s.host.Apply(d.table(c.id))
			s.metrics.applied.Inc()
			s.metrics.applySeconds.Observe(time.Since(started).Seconds())
		}
		s.hold(c, d)
	}
}

func (s *Subscriber) takePending(c *channel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	pending := c.pending
	c.pending, c.settling = false, pending

	return pending
}

// table is what the Host is told.
func (d *decision) table(channelID string) Table {
	slices.SortFunc(d.set, func(a, b *forwardingv1.Pause) int { return cmp.Compare(a.GetUid(), b.GetUid()) })
	slices.Sort(d.removed)

	return Table{ChannelID: channelID, Instance: d.instance, Version: d.version, Whole: d.whole, Set: d.set,
		Removed: d.removed}
}

// choose picks the table that shall be held.
func (s *Subscriber) choose(c *channel) decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := decision{seen: s.arrivals, instance: s.newestInstance(c)}
	if c.held != nil && c.held.instance < d.instance {
		// A channel that everybody left and somebody joined again has lost its
		// table, and the version rule begins anew.
		c.held, c.belowSince = nil, time.Time{}
	}
	adopt := c.adopt && c.held != nil
	c.adopt = false
	var best *statement
	if adopt {
		best, d.version = s.freshestStatement(c)
	}
	if best == nil {
		adopt = false
		if best = s.bestStatement(c, d.instance); best == nil {
			return d
		}
		d.version = best.version
	}
	d.chosen = true
	switch {
	case c.held == nil:
		d.apply, d.whole = true, true
		d.set = slices.Collect(maps.Values(best.pauses))
	case adopt || len(best.differs) > 0:
		d.apply = true
		for uid := range best.differs {
			if pause := best.pauses[uid]; pause != nil {
				d.set = append(d.set, pause)
			} else {
				d.removed = append(d.removed, uid)
			}
		}
	}
	if adopt {
		s.metrics.regressions.Inc()
	}

	return d
}

// newestInstance returns the newest instance of which there is a table. mu is held.
func (s *Subscriber) newestInstance(c *channel) uint64 {
	var newest uint64
	if c.held != nil {
		newest = c.held.instance
	}
	for st := range s.streams {
		if e := st.exchanges[c.id]; e != nil && e.statement != nil {
			newest = max(newest, e.instance)
		}
	}

	return newest
}

// bestStatement returns the newest table of the instance that a replica states; nil
// when none is as new as the one held. Those that do not vouch for their tables
// count only where none does that states one: theirs may be of a history that a
// restored backup ended. And they must wait, for a channel that holds none, until
// no replica that has not answered yet may know better. mu is held.
func (s *Subscriber) bestStatement(c *channel, instance uint64) *statement {
	var best, bestStale *statement
	anyFresh, freshAwaited := false, false
	for st := range s.streams {
		e := st.exchanges[c.id]
		if e == nil || e.statement == nil || e.instance != instance {
			freshAwaited = freshAwaited || !st.stale && (e == nil || e.refused.IsZero())

			continue
		}
		if st.fresh() {
			anyFresh = true
		}
		switch {
		case c.held != nil && e.statement.version < c.held.version:
		case st.fresh():
			best = newer(best, e.statement)
		case c.held == nil || st.era == s.era:
			bestStale = newer(bestStale, e.statement)
		}
	}
	if anyFresh || c.held == nil && freshAwaited {
		return best
	}

	return bestStale
}

// freshestStatement returns what the newest fresh replica says, and its version: a
// table is its word up to there, however long ago it changed last. mu is held.
func (s *Subscriber) freshestStatement(c *channel) (best *statement, version uint64) {
	for st := range s.streams {
		e := st.exchanges[c.id]
		if st.fresh() && e != nil && e.statement != nil && e.instance == c.held.instance && st.version >= version {
			best, version = e.statement, st.version
		}
	}

	return best, version
}

// newer returns the newer of two statements, the first of which may be nil.
func newer(a, b *statement) *statement {
	if a == nil || b.version > a.version || b.version == a.version && b.arrival > a.arrival {
		return b
	}

	return a
}

// hold notes what is held now and has the replicas told: all of them if something
// changed, else those that wait for an answer.
func (s *Subscriber) hold(c *channel, d decision) {
	var whole map[string]*forwardingv1.Pause
	if d.whole {
		whole = make(map[string]*forwardingv1.Pause, len(d.set))
		for _, pause := range d.set {
			whole[pause.GetUid()] = pause
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case d.whole:
		c.held = &held{instance: d.instance, pauses: whole}
	case d.apply:
		c.held.change(d)
	}
	if d.chosen {
		c.held.version = d.version
	}
	c.settled = d.seen
	if c.looked != nil {
		close(c.looked)
		c.looked = nil
	}
	for st := range s.streams {
		e := st.exchanges[c.id]
		if e == nil {
			continue
		}
		if e.statement != nil && d.apply && e.instance == d.instance {
			e.statement.compareChanged(c.held, d)
		}
		s.answer(c, st, e, d)
	}
}

// change applies a decision. Subscriber.mu is held.
func (h *held) change(d decision) {
	for _, pause := range d.set {
		h.pauses[pause.GetUid()] = pause
	}
	for _, uid := range d.removed {
		delete(h.pauses, uid)
	}
}

// answer has the replica told what its table led to. mu is held.
func (s *Subscriber) answer(c *channel, st *stream, e *exchange, d decision) {
	waits := e.statement != nil && !e.statement.answered && e.statement.arrival <= d.seen && c.heldOf(e.instance) != nil
	if waits {
		e.statement.answered, e.owed = true, true
		switch {
		case e.statement.version < c.held.version:
			s.metrics.older.Inc()
		case !d.apply:
			s.metrics.unchanged.Inc()
		}
	}
	if waits || d.apply {
		st.mark(c.id)
	}
}
