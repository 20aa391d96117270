package matching

import (
	"cmp"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// rule is one content of one pause: an edit makes another rule. pause, sides,
// kinds and times never change.
type rule struct {
	pause              *forwardingv1.Pause
	receivers, senders side
	// kinds is empty where the pause is not understood.
	kinds   Kinds
	created time.Time
	expires time.Time // zero: never

	entered bool // into the table, so that it may have to leave it
	expired bool
	// named counts those who are there: receivers that receive, senders that send.
	// It is kept only while the rule acts.
	named struct{ receivers, senders tally }
	// told is the state that Changes told last.
	told forwardingv1.State
}

func newRule(p *forwardingv1.Pause) *rule {
	r := &rule{
		pause:     p,
		receivers: newSide(p.GetReceivers()),
		senders:   newSide(p.GetSenders()),
		created:   p.GetCreatedTime().AsTime(),
	}
	if p.GetExpiresAt() != nil {
		r.expires = p.GetExpiresAt().AsTime()
	}
	unknown := slices.ContainsFunc(p.GetKinds(), func(kind forwardingv1.Kind) bool {
		return !slices.Contains(allKinds[:], kind)
	})
	if !unknown && r.receivers.form != nobody && r.senders.form != nobody {
		r.kinds = KindsOf(p.GetKinds()...)
	}

	return r
}

func (r *rule) understood() bool { return r.kinds != 0 }

// acts tells whether the rule is in force: it is in the indices then.
func (r *rule) acts() bool { return r.understood() && !r.expired }

func (r *rule) expiredAt(now time.Time) bool { return !r.expires.IsZero() && !now.Before(r.expires) }

func (r *rule) state() forwardingv1.State {
	switch {
	case !r.understood():
		return forwardingv1.State_STATE_NOT_UNDERSTOOD
	case r.expired:
		return forwardingv1.State_STATE_EXPIRED
	case r.named.receivers.count > 0 && r.named.senders.count > 0 && !r.named.receivers.plus(r.named.senders).oneBundle():
		return forwardingv1.State_STATE_MATCHING
	default:
		return forwardingv1.State_STATE_NOT_MATCHING
	}
}

// older orders rules by creation, then uid, as everybody who looks at them does.
func (r *rule) older(other *rule) bool { return compareAge(r, other) < 0 }

func compareAge(a, b *rule) int {
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.pause.GetUid(), b.pause.GetUid()))
}

// matches tells whether the rule names both ends.
func (r *rule) matches(receiver, sender *member) bool {
	return r.receivers.names(receiver) && r.senders.names(sender)
}

// index finds the rules in force whose one side may name a connection: each rule
// stands in it once for each id that it lists, or among the open ones.
type index struct {
	side         func(*rule) *side
	byConnection map[string][]*rule
	byClient     map[string][]*rule
	open         []*rule
}

func newIndex(side func(*rule) *side) index {
	return index{side: side, byConnection: make(map[string][]*rule), byClient: make(map[string][]*rule)}
}

func (i *index) add(r *rule) {
	switch s := i.side(r); s.form {
	case byConnection:
		for _, id := range s.connections {
			i.byConnection[id] = append(i.byConnection[id], r)
		}
	case byClient:
		for _, id := range s.clients {
			i.byClient[id] = append(i.byClient[id], r)
		}
	case open:
		i.open = append(i.open, r)
	case nobody:
	}
}

func (i *index) remove(r *rule) {
	switch s := i.side(r); s.form {
	case byConnection:
		for _, id := range s.connections {
			drop(i.byConnection, id, r)
		}
	case byClient:
		for _, id := range s.clients {
			drop(i.byClient, id, r)
		}
	case open:
		i.open = without(i.open, r)
	case nobody:
	}
}

func drop(from map[string][]*rule, id string, r *rule) {
	if rest := without(from[id], r); len(rest) > 0 {
		from[id] = rest
	} else {
		delete(from, id)
	}
}

func without(rules []*rule, r *rule) []*rule {
	last := len(rules) - 1
	rules[slices.Index(rules, r)] = rules[last]
	rules[last] = nil

	return rules[:last]
}

// candidates returns the rules that may name the member, in three lists that have
// none in common. Those in open may still except it.
func (i *index) candidates(m *member) [3][]*rule {
	return [3][]*rule{i.byConnection[m.id], i.byClient[m.client], i.open}
}

func length(lists [3][]*rule) int { return len(lists[0]) + len(lists[1]) + len(lists[2]) }
