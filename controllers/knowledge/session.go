package knowledge

import (
	"sync/atomic"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// notes bounds the small answers that wait to be written; who has so many
// outstanding is not read from until it has read some.
const notes = 1024

// Session is one stream of a media server: what comes in on it, and what waits to
// go out. Its methods may be called from two goroutines, a reader and a writer.
type Session struct {
	tenant   *Tenant
	server   *mediaServer
	ended    time.Time
	farewell bool // nothing more comes, nor will
	// passing: it comes, until some time after its first version has been said, or goes.
	passing  atomic.Bool
	replaced chan struct{}
	wake     chan struct{}
	room     chan struct{}

	reports          map[string]*report
	acknowledgements map[string]*acknowledgement
	partBytes        int // that those of reports and acknowledgements take together

	notes      []Outgoing
	notesTaken int
	noted      map[string]int // by channel, counted from the first note of all
	asks       []*Ask
	askNext    bool // the next one goes before tables
	queue      []item
	stating    bool   // queue has a version
	stated     bool   // a version has been said by itself
	said       uint64 // the version that was said last, with a table or by itself
	skew       time.Duration

	members     []*forwardingv1.Members // that wait to be written
	membersTold uint64                  // how many changes it has been told of, those included
}

// item is what waits for its turn: the table of a channel, or, where host is nil,
// the version as it was then.
type item struct {
	host    *hosted
	version uint64
}

// outbound is what a stream has yet to be told of a channel's pauses.
type outbound struct {
	whole  bool            // all of them
	dirty  map[string]bool // those, by uid; whether the stream holds a rule of it
	sent   uint64          // the version of the last table; 0: none
	queued bool
	gone   bool // the channel is not hosted any more
}

func (o *outbound) stop() { o.whole, o.dirty, o.sent = false, nil, 0 }

// Ask is something to be asked of the media server about a channel; about none where that
// is empty.
type Ask struct{ ChannelID string }

// Outgoing is one thing to be written. One of its fields is set.
type Outgoing struct {
	Table   *Table
	Version *forwardingv1.ReplicaVersion
	Refusal *forwardingv1.Refusal
	Resend  *forwardingv1.Resend
	Ask     *Ask
	Members *forwardingv1.Members

	Unclaimed *forwardingv1.Unclaimed
	// Of Ask: the instance, and the version of the last table that went out before
	// it, which has all that was known when it was asked. Instance 0: the media
	// server does not host the channel on this stream any more, or, as Refused says,
	// nothing of it is taken.
	Instance, AskVersion uint64
	Refused              string
}

// Table is the pauses of a channel, or what changed in them.
type Table struct {
	ChannelID               string
	Instance, Version, Base uint64
	// Set is ordered by uid. The objects must not be changed.
	Set     []*held.Pause
	Removed []string
	Stale   bool
}

func newSession(t *Tenant, server *mediaServer) *Session {
	s := &Session{
		tenant: t, server: server,
		replaced: make(chan struct{}), wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
		reports: map[string]*report{}, acknowledgements: map[string]*acknowledgement{}, noted: map[string]int{},
	}
	s.passing.Store(true)

	return s
}

// lock takes the tenant's lock, which the tenant's unlock releases.
func (s *Session) lock() {
	if s.passing.Load() {
		s.tenant.lockInTurn()
	} else {
		s.tenant.mu.Lock()
	}
}

// MediaServer is the name of the media server whose stream this is.
func (s *Session) MediaServer() string { return s.server.name }

// Replaced is closed when a newer stream of the media server took over.
func (s *Session) Replaced() <-chan struct{} { return s.replaced }

// Wake has a token when there may be something to write.
func (s *Session) Wake() <-chan struct{} { return s.wake }

// Room has a token when Crowded may have ended.
func (s *Session) Room() <-chan struct{} { return s.room }

// Crowded tells that nothing more should be read until something is written: too
// many small answers wait, or tables of channels that have ended meanwhile.
func (s *Session) Crowded() bool {
	s.lock()
	defer s.tenant.unlock()

	return len(s.notes) >= notes || len(s.queue) >= notes+len(s.server.channels)
}

// end frees what waits to be written. The caller holds the lock.
func (s *Session) end(now time.Time) {
	s.ended = now
	s.notes, s.asks, s.queue, s.reports, s.acknowledgements, s.members = nil, nil, nil, nil, nil, nil
	for _, h := range s.server.channels {
		if h.session == s {
			h.stop()
			h.queued = false
		}
	}
}

func (s *Session) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Skew notes by how much the media server's clock is ahead of this one.
func (s *Session) Skew(ahead time.Duration) {
	s.tenant.mu.Lock()
	defer s.tenant.mu.Unlock()
	s.skew = ahead
}

// live tells whether the stream is the media server's present one.
func (s *Session) live() bool { return s.server.session == s }

// mark notes that a pause whose rule was in the channel's tables, or is now, is
// another than before.
func (h *hosted) mark(uid string, acted, acts bool) {
	if !acted && !acts || !h.inTouch() || h.refused != "" || h.whole {
		return
	}
	if _, known := h.dirty[uid]; !known {
		if len(h.dirty) >= tables.MaxPauses {
			h.sendWhole()

			return
		}
		if h.dirty == nil {
			h.dirty = map[string]bool{}
		}
		h.dirty[uid] = acted
	}
	h.session.enqueue(h)
}

// sendWhole has the stream be told the channel's whole table.
func (h *hosted) sendWhole() {
	h.whole, h.dirty, h.sent = true, nil, 0
	h.session.enqueue(h)
}

func (s *Session) enqueue(h *hosted) {
	if !h.queued {
		h.queued = true
		s.queue = append(s.queue, item{host: h})
	}
	s.signal()
}

// Resend has everything of the channel be said again.
func (s *Session) Resend(channelID string) {
	s.tenant.mu.Lock()
	defer s.tenant.mu.Unlock()
	if h := s.server.channels[channelID]; h != nil && s.live() && h.holds(s) {
		h.sendWhole()
	}
}

// StateVersion has the version be stated, once everything has been reported: what
// it is now, after all that has changed up to it.
func (s *Session) StateVersion() {
	s.lock()
	defer s.tenant.unlock()
	if s.stated {
		// What it was told first has long been acknowledged.
		s.passing.Store(false)
	}
	s.stateVersion()
}

func (s *Session) stateVersion() {
	if !s.live() || s.stating || s.server.complete.IsZero() {
		return
	}
	s.stating = true
	s.queue = append(s.queue, item{version: s.tenant.version})
	s.signal()
}

// turn tells every stream at once when the objects turn stale, or fresh again.
func (t *Tenant) turn() {
	stale := t.store.Stale()
	t.mu.Lock()
	defer t.unlock()
	if stale == t.stale {
		return
	}
	t.stale = stale
	for _, server := range t.servers {
		if server.session != nil {
			server.session.stateVersion()
		}
	}
}

// askAgain asks the media server to say everything about the channel again.
func (s *Session) askAgain(channelID string) {
	s.note(channelID, Outgoing{Resend: &forwardingv1.Resend{ChannelId: channelID}})
}

func (s *Session) refuse(channelID, reason string) {
	s.note(channelID, Outgoing{Refusal: &forwardingv1.Refusal{ChannelId: channelID, Reason: reason}})
	if m := s.tenant.metrics; m != nil {
		m.refused.Inc()
	}
	s.tenant.config.Log.Warn("a channel is refused", "namespace", s.tenant.namespace, "mediaServer", s.server.name,
		"channel", channelID, "reason", reason)
}

// note replaces what waits to be said of the channel: the last word counts.
func (s *Session) note(channelID string, o Outgoing) {
	if at, waiting := s.noted[channelID]; waiting {
		s.notes[at-s.notesTaken] = o
	} else {
		s.noted[channelID] = s.notesTaken + len(s.notes)
		s.notes = append(s.notes, o)
	}
	s.signal()
}

// Ask has a question go out after the tables with all that is known now of the
// channel. It returns false when the stream has ended.
func (s *Session) Ask(a *Ask) bool {
	s.tenant.mu.Lock()
	defer s.tenant.mu.Unlock()
	if !s.live() {
		return false
	}
	s.asks = append(s.asks, a)
	s.signal()

	return true
}

// Next takes what is to be written next: small answers first, then questions and
// tables in turn, each kind in the order in which it came up, then members.
func (s *Session) Next() (Outgoing, bool) {
	t := s.tenant
	s.lock()
	defer t.unlock()
	if !s.live() {
		return Outgoing{}, false
	}
	if len(s.notes) > 0 {
		return s.nextNote(), true
	}
	for {
		if len(s.asks) > 0 && (s.askNext || len(s.queue) == 0) {
			return s.nextAsk(), true
		}
		if len(s.queue) == 0 {
			members := s.nextMembers()

			return Outgoing{Members: members}, members != nil
		}
		next := s.queue[0]
		s.queue = s.queue[1:]
		s.makeRoom()
		s.askNext = true
		if next.host == nil {
			s.stating, s.stated = false, true

			return Outgoing{Version: &forwardingv1.ReplicaVersion{Version: s.present(next.version), Stale: t.stale}}, true
		}
		if next.host.session != s || !next.host.queued {
			continue // It was written with a question, or is hosted no longer.
		}
		if table := t.take(next.host); table != nil {
			return Outgoing{Table: table}, true
		}
	}
}

// present is the version to state in its turn: not below that of a table that was
// made after it and went before it, which would look like a restored backup.
func (s *Session) present(version uint64) uint64 {
	s.said = min(max(version, s.said), s.tenant.version)

	return s.said
}

// backwards has streams be told the version that a restored backup brings, though
// they were told a higher one.
func (t *Tenant) backwards() {
	for _, server := range t.servers {
		if server.session != nil {
			server.session.said = 0
		}
	}
}

func (s *Session) nextNote() Outgoing {
	o := s.notes[0]
	s.notes = s.notes[1:]
	s.notesTaken++
	delete(s.noted, o.channel())
	s.makeRoom()

	return o
}

func (s *Session) makeRoom() {
	select {
	case s.room <- struct{}{}:
	default:
	}
}

func (o Outgoing) channel() string {
	switch {
	case o.Refusal != nil:
		return o.Refusal.GetChannelId()
	case o.Unclaimed != nil:
		return o.Unclaimed.GetChannelId()
	default:
		return o.Resend.GetChannelId()
	}
}

// nextAsk takes the first question, or the table that must go before it.
func (s *Session) nextAsk() Outgoing {
	a := s.asks[0]
	h := s.server.channels[a.ChannelID]
	if h != nil && h.holds(s) && (h.whole || len(h.dirty) > 0) {
		if table := s.tenant.take(h); table != nil {
			return Outgoing{Table: table}
		}
	}
	s.asks = s.asks[1:]
	s.askNext = false
	switch {
	case h == nil || h.session != s:
		return Outgoing{Ask: a}
	case h.refused != "":
		return Outgoing{Ask: a, Refused: h.refused}
	}

	return Outgoing{Ask: a, Instance: h.instance, AskVersion: h.sent}
}

// take makes the table that the stream lacks of the channel; nil when it lacks
// nothing.
func (t *Tenant) take(h *hosted) *Table {
	table := &Table{ChannelID: h.channel.id, Instance: h.instance, Version: t.version, Base: h.sent, Stale: t.stale}
	whole, dirty := h.whole, h.dirty
	h.whole, h.dirty, h.queued = false, nil, false
	switch {
	case h.gone || h.refused != "":
		return nil
	case whole:
		table.Base = 0
		t.all(h.channel, table)
	default:
		t.changes(dirty, table)
		if len(table.Set)+len(table.Removed) == 0 {
			return nil
		}
	}
	h.sent, h.session.said = t.version, t.version

	return table
}
