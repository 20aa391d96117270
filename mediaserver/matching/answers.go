package matching

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Uids returns the uids of all pauses that are held, in no order.
func (m *Matcher) Uids() iter.Seq[string] { return maps.Keys(m.rules) }

// Len is the number of pauses that are held.
func (m *Matcher) Len() int { return len(m.rules) }

// State tells what a pause does; nil when it is not held.
func (m *Matcher) State(uid string) *forwardingv1.PauseState {
	r := m.rules[uid]
	if r == nil {
		return nil
	}

	return &forwardingv1.PauseState{Uid: uid, Digest: r.pause.GetDigest(), State: r.state()}
}

// Live tells whether an edge is live: both ends have joined, and their roles and
// bundles allow it.
func (m *Matcher) Live(e Edge) bool {
	receiver, sender := m.roster.byID[e.Receiver], m.roster.byID[e.Sender]

	return receiver != nil && sender != nil && live(receiver, sender)
}

// Matching returns the pauses in force that match an edge, oldest first; none for
// one that is not live.
func (m *Matcher) Matching(e Edge) []*forwardingv1.Pause {
	if !m.Live(e) {
		return nil
	}
	var rules []*rule
	m.matching(m.roster.byID[e.Receiver], m.roster.byID[e.Sender], func(r *rule) { rules = append(rules, r) })
	slices.SortFunc(rules, compareAge)
	pauses := make([]*forwardingv1.Pause, len(rules))
	for i, r := range rules {
		pauses[i] = r.pause
	}

	return pauses
}

// Edges returns the live edges that a pause in force matches, at most limit of
// them, ordered by their names, and how many there are.
func (m *Matcher) Edges(uid string, limit int) (edges []Edge, count uint64) {
	r := m.rules[uid]
	if r == nil || r.state() != forwardingv1.State_STATE_MATCHING {
		return nil, 0
	}
	var receivers, senders []*member
	m.roster.named(&r.receivers, func(c *member) {
		if c.receives {
			receivers = append(receivers, c)
		}
	})
	m.roster.named(&r.senders, func(c *member) {
		if c.sends {
			senders = append(senders, c)
		}
	})
	sortByID(receivers)
	sortByID(senders)
	count = countLive(receivers, senders)
	for _, receiver := range receivers {
		for _, sender := range senders {
			if len(edges) >= limit {
				return edges, count
			}
			if live(receiver, sender) {
				edges = append(edges, Edge{Receiver: receiver.id, Sender: sender.id})
			}
		}
	}

	return edges, count
}

// countLive is the number of live edges from senders to receivers: all pairs but
// those within one bundle.
func countLive(receivers, senders []*member) uint64 {
	inBundle := make(map[uint64]uint64, len(senders))
	for _, s := range senders {
		inBundle[s.bundle]++
	}
	var count uint64
	for _, r := range receivers {
		count += uint64(len(senders)) - inBundle[r.bundle]
	}

	return count
}

func sortByID(members []*member) {
	slices.SortFunc(members, func(a, b *member) int { return cmp.Compare(a.id, b.id) })
}
