package matching

import (
	"slices"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Edge names an edge by the connection ids of its ends.
type Edge struct{ Receiver, Sender string }

// Withheld tells by which pause each kind of an edge is withheld: the oldest of
// those in force that match, nil where there is none.
type Withheld [kindCount]*forwardingv1.Pause

// Kinds returns the kinds that are withheld.
func (w Withheld) Kinds() Kinds {
	var kinds Kinds
	for i, pause := range w {
		if pause != nil {
			kinds |= KindsOf(allKinds[i])
		}
	}

	return kinds
}

// Reason is what the receiver is told of why the kind is withheld; empty where
// nothing is told, or the kind is not withheld.
func (w Withheld) Reason(kind forwardingv1.Kind) string {
	return w[slices.Index(allKinds[:], kind)].GetReason()
}

// watched is an edge whose changes are told.
type watched struct {
	receiver, sender *member
	// by are the oldest rules that withhold it.
	by oldest

	// Within one step: touched tells that before is what by was, stale that by has
	// to be computed anew, since a rule of it acts no longer.
	touched, stale bool
	before         oldest
}

// oldest holds for each kind the oldest rule of those that withhold it.
type oldest [kindCount]*rule

func (o *oldest) take(r *rule) {
	for i, kind := range allKinds {
		if r.kinds.Has(kind) && (o[i] == nil || r.older(o[i])) {
			o[i] = r
		}
	}
}

func (o *oldest) withheld() Withheld {
	var w Withheld
	for i, r := range o {
		if r != nil {
			w[i] = r.pause
		}
	}

	return w
}

// tellsLike tells whether receivers would be told the same.
func (o *oldest) tellsLike(other *oldest) bool {
	for i := range o {
		if (o[i] == nil) != (other[i] == nil) || o[i] != nil && o[i].pause.GetReason() != other[i].pause.GetReason() {
			return false
		}
	}

	return true
}

// matching calls do for each rule in force that matches the edge. It looks at the
// candidates of the end that has fewer.
func (m *Matcher) matching(receiver, sender *member, do func(*rule)) {
	lists, others := m.receivers.candidates(receiver), m.senders.candidates(sender)
	if length(others) < length(lists) {
		lists = others
	}
	for _, list := range lists {
		for _, r := range list {
			if r.matches(receiver, sender) {
				do(r)
			}
		}
	}
}

func (m *Matcher) compute(receiver, sender *member) oldest {
	var o oldest
	m.matching(receiver, sender, o.take)

	return o
}

// touch keeps what the edge was before this step.
func (m *Matcher) touch(w *watched) {
	if !w.touched {
		w.touched, w.before = true, w.by
		m.touched = append(m.touched, w)
	}
}

// watchedBy calls do for each watched edge that the rule matches.
func (m *Matcher) watchedBy(r *rule, do func(*watched)) {
	if r.senders.form == open {
		m.roster.named(&r.receivers, func(receiver *member) {
			for sender, w := range receiver.incoming {
				if r.senders.names(sender) {
					do(w)
				}
			}
		})

		return
	}
	m.roster.named(&r.senders, func(sender *member) {
		if r.receivers.form != open && len(sender.outgoing) > len(r.receivers.connections)+len(r.receivers.clients) {
			m.roster.listed(&r.receivers, func(receiver *member) {
				if w := sender.outgoing[receiver]; w != nil {
					do(w)
				}
			})

			return
		}
		for receiver, w := range sender.outgoing {
			if r.receivers.names(receiver) {
				do(w)
			}
		}
	})
}

func (m *Matcher) unwatch(w *watched) {
	delete(w.receiver.incoming, w.sender)
	delete(w.sender.outgoing, w.receiver)
}
