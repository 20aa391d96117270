package tables

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// shareBatch is for how many pauses the lock is held while equal ones are looked
// for, so that a table of many thousands delays nobody.
const shareBatch = 1024

// statement is the whole table of a channel as one replica stated it.
type statement struct {
	// last is the version of the last table, to which the next one is the difference.
	last uint64
	// version is the same, or what the replica went back to since: a replica that
	// follows a restored backup says nothing where nothing changed, and its table
	// is its word all the same.
	version uint64
	// arrival orders the tables of all streams.
	arrival uint64
	// answered tells that the replica was told what the table led to.
	answered bool
	// pauses are the table, by uid. Streams share what is equal.
	pauses map[string]*forwardingv1.Pause
	// differs are the uids of which the table held says something else: what a
	// change costs depends on the change, not on the table.
	differs map[string]struct{}
}

// incoming is a table of which parts are still to come.
type incoming struct {
	version, base uint64
	set           map[string]*forwardingv1.Pause
	removed       []string
}

// equal tells whether two pauses, nil for none, have the same content.
func equal(a, b *forwardingv1.Pause) bool {
	return a == b || a != nil && b != nil && bytes.Equal(a.GetDigest(), b.GetDigest())
}

// compare notes whether the table held says something else of the uid.
// Subscriber.mu is held.
func (s *statement) compare(uid string, held *forwardingv1.Pause) {
	if equal(s.pauses[uid], held) {
		delete(s.differs, uid)
	} else {
		s.differs[uid] = struct{}{}
	}
}

// compareAll notes everything of which the table held, nil for none, says
// something else. Subscriber.mu is held.
func (s *statement) compareAll(h *held) {
	s.differs = make(map[string]struct{})
	if h == nil {
		return
	}
	for uid, pause := range s.pauses {
		if !equal(pause, h.pauses[uid]) {
			s.differs[uid] = struct{}{}
		}
	}
	for uid := range h.pauses {
		if s.pauses[uid] == nil {
			s.differs[uid] = struct{}{}
		}
	}
}

// compareChanged notes what a decision changed in the table held. Subscriber.mu is
// held.
func (s *statement) compareChanged(h *held, d decision) {
	if d.whole {
		s.compareAll(h)

		return
	}
	for _, pause := range d.set {
		s.compare(pause.GetUid(), h.pauses[pause.GetUid()])
	}
	for _, uid := range d.removed {
		s.compare(uid, nil)
	}
}

// stated takes a table, or a part of one, of a replica; not nil: it was dropped.
func (s *Subscriber) stated(ctx context.Context, st *stream, table *forwardingv1.Table) *malformed {
	if bad := validate(table); bad != nil {
		return bad
	}
	set := s.understood(ctx, st, table)
	in, bad := s.gather(st, table, set)
	if in == nil {
		return bad
	}
	s.share(st, table.GetChannelId(), in.set)
	s.complete(st, table, in)

	return nil
}

// understood returns the pauses of a part that can be taken. One that cannot is
// left out, and with it the content that its uid had before, which the replica
// states no longer.
func (s *Subscriber) understood(
	ctx context.Context, st *stream, table *forwardingv1.Table,
) map[string]*forwardingv1.Pause {
	set := make(map[string]*forwardingv1.Pause, len(table.GetSet()))
	for _, pause := range table.GetSet() {
		if bad := validatePause(pause); bad != nil {
			bad.detail = "channel " + table.GetChannelId() + ": " + bad.detail
			st.dropped(ctx, bad)
			if pause.GetUid() != "" {
				set[pause.GetUid()] = nil
			}

			continue
		}
		set[pause.GetUid()] = pause
	}

	return set
}

// gather adds a part to those before it and returns the table when it is the last
// one. A table that cannot be put together, or is the difference to another than
// the one stated before, is given up and asked for anew: that of its channel alone.
func (s *Subscriber) gather(
	st *stream, table *forwardingv1.Table, set map[string]*forwardingv1.Pause,
) (*incoming, *malformed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := st.exchanges[table.GetChannelId()]
	if e == nil || e.instance != table.GetInstance() {
		return nil, &malformed{notHosted, "the table's channel is not hosted here, or has ended and begun anew"}
	}
	if e.skipping {
		e.skipping = table.GetMore()

		return nil, nil
	}
	in := e.incoming
	if in == nil {
		in = &incoming{version: table.GetVersion(), base: table.GetBaseVersion(),
			set: make(map[string]*forwardingv1.Pause, len(set))}
		if !e.follows(in.base) {
			return nil, s.giveUp(st, e, table, "wrong_base", "the table is the difference to another one than was stated before")
		}
	} else if in.version != table.GetVersion() || in.base != table.GetBaseVersion() {
		return nil, s.giveUp(st, e, table, "mixed_parts", "a part belongs to another table than the part before it")
	}
	maps.Copy(in.set, set)
	in.removed = append(in.removed, table.GetRemoved()...)
	if table.GetMore() {
		e.incoming = in

		return nil, nil
	}
	e.incoming = nil
	if in.base == 0 {
		e.resending, e.resendDue = false, false
	}

	return in, nil
}

// follows tells whether a table with that base can be put to use.
func (e *exchange) follows(base uint64) bool {
	return base == 0 || !e.resending && e.statement != nil && e.statement.last == base
}

// giveUp drops a table with what is still to come of it and asks for the whole.
// mu is held.
func (s *Subscriber) giveUp(st *stream, e *exchange, table *forwardingv1.Table, reason, detail string) *malformed {
	e.incoming, e.skipping = nil, table.GetMore()
	if e.resending {
		// Differences that were under way when the whole was asked for.
		return nil
	}
	e.resending, e.resendDue = true, true
	s.metrics.resends.WithLabelValues("media_server").Inc()
	st.mark(table.GetChannelId())

	return &malformed{reason, "channel " + table.GetChannelId() + ": " + detail}
}

// share replaces pauses by equal ones that other streams or the table held have.
func (s *Subscriber) share(st *stream, channelID string, set map[string]*forwardingv1.Pause) {
	for uids := range slices.Chunk(slices.Collect(maps.Keys(set)), shareBatch) {
		s.mu.Lock()
		known := s.known(st, channelID)
		for _, uid := range uids {
			for _, pauses := range known {
				if pause := pauses[uid]; pause != nil && equal(pause, set[uid]) {
					set[uid] = pause

					break
				}
			}
		}
		s.mu.Unlock()
	}
}

// known returns the tables of the channel that are there: the one held, and what
// the streams state. mu is held.
func (s *Subscriber) known(st *stream, channelID string) []map[string]*forwardingv1.Pause {
	var known []map[string]*forwardingv1.Pause
	if c := s.channels[channelID]; c != nil && c.held != nil {
		known = append(known, c.held.pauses)
	}
	for other := range s.streams {
		if e := other.exchanges[channelID]; other != st && e != nil && e.statement != nil {
			known = append(known, e.statement.pauses)
		}
	}

	return known
}

// complete makes a table that is all there what the replica states.
func (s *Subscriber) complete(st *stream, table *forwardingv1.Table, in *incoming) {
	channelID := table.GetChannelId()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := st.exchanges[channelID]
	if e == nil || e.instance != table.GetInstance() {
		// It ended while equal pauses were looked for.
		return
	}
	h := s.channelOf(channelID).heldOf(e.instance)
	if in.base == 0 {
		maps.DeleteFunc(in.set, func(_ string, pause *forwardingv1.Pause) bool { return pause == nil })
		e.statement = &statement{pauses: in.set}
		e.statement.compareAll(h)
	} else {
		e.statement.change(in, h)
	}
	s.arrivals++
	e.statement.last, e.statement.version = in.version, in.version
	e.statement.arrival, e.statement.answered = s.arrivals, false
	if !e.refused.IsZero() {
		// The replica has come to take the channel.
		e.refused = time.Time{}
		st.mark(channelID)
	}
	delete(st.awaited, channelID)
	s.vouched(st, in.version, table.GetStale())
	s.settle(channelID)
}

// change applies a difference. Subscriber.mu is held.
func (s *statement) change(in *incoming, h *held) {
	touch := func(uid string) {
		if h != nil {
			s.compare(uid, h.pauses[uid])
		}
	}
	for _, uid := range in.removed {
		delete(s.pauses, uid)
		touch(uid)
	}
	for uid, pause := range in.set {
		if pause == nil {
			delete(s.pauses, uid)
		} else {
			s.pauses[uid] = pause
		}
		touch(uid)
	}
}

// heard takes what a replica says of its version.
func (s *Subscriber) heard(st *stream, version *forwardingv1.ReplicaVersion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.confirmed = st.confirmed || st.complete
	s.vouched(st, version.GetVersion(), version.GetStale())
	if version.GetClock() {
		st.clocksDue++
		st.wakeWriter()
	}
}

// vouched takes the version that a replica is at, and whether it stands up for
// it. mu is held.
func (s *Subscriber) vouched(st *stream, version uint64, stale bool) {
	wasFresh := st.fresh()
	if st.versionKnown && version < st.version {
		for channelID, e := range st.exchanges {
			if e.statement != nil && e.statement.version > version {
				e.statement.version = version
				s.settle(channelID)
			}
		}
	}
	turnedStale := stale && !st.stale
	st.version, st.versionKnown, st.stale = version, true, stale
	if !stale {
		st.era = s.era
	}
	if turnedStale && wasFresh {
		s.lastFresh = time.Now()
	}
	if turnedStale || st.fresh() != wasFresh {
		s.settleUndecided()
	}
	s.noteReady(st)
}
