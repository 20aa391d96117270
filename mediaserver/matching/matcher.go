// Package matching tells which edges of a channel each pause matches. It is the
// one place that does: managers compare what it says, and walk no connections.
//
// It is pure: it has no locks, clocks or goroutines of its own. It is incremental:
// what a step costs depends on what the step changes, not on the size of the
// channel or of its table. Pauses are indexed by the ids that their sides list, so
// that those which list nobody of an edge are not looked at. Whether a pause
// matches any edge at all is known by counting the two sides, edge by edge is
// looked only at those that somebody watches: the ones with media on them.
package matching

import (
	"bytes"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Matcher matches the pauses of one channel with its connections. Connections and
// pauses that are handed in must not be changed afterwards.
type Matcher struct {
	roster roster
	rules  map[string]*rule // by uid
	// receivers and senders index the rules in force.
	receivers, senders index
	expiries           expiries

	// Of the step under way.
	touched []*watched
	changes Changes
}

// Changes is what a step changed.
type Changes struct {
	// Edges are the watched edges of which other kinds are withheld than before, or
	// for another reason.
	Edges []EdgeChange
	// Pauses are the uids of pauses whose state or content is another, or that are
	// gone; each once.
	Pauses []string
}

// EdgeChange is what withholds an edge from now on.
type EdgeChange struct {
	Edge
	Withheld Withheld
}

// New returns a Matcher of an empty channel without pauses.
func New() *Matcher {
	return &Matcher{
		roster:    newRoster(),
		rules:     make(map[string]*rule),
		receivers: newIndex(func(r *rule) *side { return &r.receivers }),
		senders:   newIndex(func(r *rule) *side { return &r.senders }),
	}
}

// Join adds a connection. One with its id must not be there.
func (m *Matcher) Join(c *forwardingv1.Connection) Changes {
	newcomer := m.roster.join(c)
	m.recount(newcomer, (*tally).add)

	return m.settle()
}

// Leave takes a connection out; its edges are watched no longer.
func (m *Matcher) Leave(connectionID string) Changes {
	leaver := m.roster.byID[connectionID]
	if leaver == nil {
		return Changes{}
	}
	for _, w := range leaver.incoming {
		m.unwatch(w)
	}
	for _, w := range leaver.outgoing {
		m.unwatch(w)
	}
	m.roster.leave(leaver)
	m.recount(leaver, (*tally).remove)

	return m.settle()
}

// recount counts one that joined or left in all rules that name it.
func (m *Matcher) recount(who *member, count func(t *tally, bundle uint64)) {
	if who.receives {
		for _, list := range m.receivers.candidates(who) {
			for _, r := range list {
				if r.receivers.names(who) {
					count(&r.named.receivers, who.bundle)
					m.review(r)
				}
			}
		}
	}
	if who.sends {
		for _, list := range m.senders.candidates(who) {
			for _, r := range list {
				if r.senders.names(who) {
					count(&r.named.senders, who.bundle)
					m.review(r)
				}
			}
		}
	}
}

// Apply takes pauses that are new or have another content, and removes others, all
// in one step as of the time now: an edge that is withheld before and after it is
// not among the changes, whichever pauses do it.
func (m *Matcher) Apply(set []*forwardingv1.Pause, removed []string, now time.Time) Changes {
	m.advance(now)
	var out, in []*rule
	for _, uid := range removed {
		if r := m.rules[uid]; r != nil {
			out = append(out, r)
			delete(m.rules, uid)
			m.changes.Pauses = append(m.changes.Pauses, uid)
		}
	}
	for _, pause := range set {
		old := m.rules[pause.GetUid()]
		if old != nil && len(pause.GetDigest()) > 0 && bytes.Equal(old.pause.GetDigest(), pause.GetDigest()) {
			continue
		}
		if old != nil && old.entered {
			out = append(out, old)
		}
		r := newRule(pause)
		r.expired = r.expiredAt(now)
		m.rules[pause.GetUid()] = r
		in = append(in, r)
	}
	in = slices.DeleteFunc(in, func(r *rule) bool { return m.rules[r.pause.GetUid()] != r }) // Set twice.
	m.expiries.replace(out, in)
	for _, r := range out {
		if r.acts() {
			m.repeal(r)
		}
	}
	for _, r := range in {
		r.entered = true
		if r.acts() {
			m.enact(r)
		}
		m.review(r)
	}

	return m.settle()
}

// Advance makes pauses expire, as of the time now. Those whose ends are yet to
// come by a clock that was set back act again.
func (m *Matcher) Advance(now time.Time) Changes {
	m.advance(now)

	return m.settle()
}

func (m *Matcher) advance(now time.Time) {
	for _, r := range m.expiries.advance(now) {
		if r.understood() && !r.expired {
			m.repeal(r)
		}
		r.expired = !r.expired
		if r.acts() {
			m.enact(r)
		}
		m.review(r)
	}
}

// NextExpiry is when the next pause expires, false when none will.
func (m *Matcher) NextExpiry() (time.Time, bool) { return m.expiries.next() }

// Expires tells whether some pause has an end, past or to come.
func (m *Matcher) Expires() bool { return len(m.expiries.rules) > 0 }

// Watch has changes of a live edge told from now on, and returns what withholds it
// now. Both ends must have joined.
func (m *Matcher) Watch(e Edge) Withheld {
	receiver, sender := m.roster.byID[e.Receiver], m.roster.byID[e.Sender]
	w := receiver.incoming[sender]
	if w == nil {
		w = &watched{receiver: receiver, sender: sender, by: m.compute(receiver, sender)}
		receiver.incoming[sender], sender.outgoing[receiver] = w, w
	}

	return w.by.withheld()
}

// enact puts a rule in force.
func (m *Matcher) enact(r *rule) {
	m.receivers.add(r)
	m.senders.add(r)
	r.named.receivers = m.roster.count(&r.receivers, m.roster.receivers, receives)
	r.named.senders = m.roster.count(&r.senders, m.roster.senders, sends)
	m.watchedBy(r, func(w *watched) {
		m.touch(w)
		w.by.take(r)
	})
}

// repeal ends that. Edges which the rule was not the oldest of have others that
// withhold the same kinds, and are left alone.
func (m *Matcher) repeal(r *rule) {
	m.receivers.remove(r)
	m.senders.remove(r)
	m.watchedBy(r, func(w *watched) {
		if slices.Contains(w.by[:], r) {
			m.touch(w)
			w.stale = true
		}
	})
}

// review notes a rule whose state is not the one told last. A new rule was told
// none.
func (m *Matcher) review(r *rule) {
	if state := r.state(); state != r.told {
		r.told = state
		m.changes.Pauses = append(m.changes.Pauses, r.pause.GetUid())
	}
}

// settle ends a step.
func (m *Matcher) settle() Changes {
	for _, w := range m.touched {
		if w.stale {
			w.by = m.compute(w.receiver, w.sender)
		}
		if !w.by.tellsLike(&w.before) {
			edge := Edge{Receiver: w.receiver.id, Sender: w.sender.id}
			m.changes.Edges = append(m.changes.Edges, EdgeChange{Edge: edge, Withheld: w.by.withheld()})
		}
		w.touched, w.stale, w.before = false, false, oldest{}
	}
	changes := m.changes
	slices.Sort(changes.Pauses)
	changes.Pauses = slices.Compact(changes.Pauses)
	m.touched, m.changes = nil, Changes{}

	return changes
}
