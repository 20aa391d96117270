package matching

import (
	"slices"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// member is a connection of the channel. Everything but its watched edges never
// changes.
type member struct {
	id, client      string
	receives, sends bool
	bundle          uint64
	bundleName      bundle

	incoming map[*member]*watched // by sender
	outgoing map[*member]*watched // by receiver
}

// live is forwardingv1.LiveEdge: a connection without a bundle is one of its own.
func live(receiver, sender *member) bool {
	return receiver.receives && sender.sends && receiver.bundle != sender.bundle
}

// roster is who is in the channel.
type roster struct {
	byID     map[string]*member
	byClient map[string][]*member
	bundles  bundles
	// receivers and senders count those whose roles let them receive and send.
	receivers, senders tally
}

func newRoster() roster {
	return roster{
		byID:     make(map[string]*member),
		byClient: make(map[string][]*member),
		bundles:  bundles{known: make(map[bundle]*numbered)},
	}
}

func (r *roster) join(c *forwardingv1.Connection) *member {
	m := &member{
		id:         c.GetConnectionId(),
		client:     c.GetClientId(),
		receives:   c.Receives(),
		sends:      c.Sends(),
		bundleName: bundle{id: c.GetBundleId()},
		incoming:   make(map[*member]*watched),
		outgoing:   make(map[*member]*watched),
	}
	if m.bundleName.id == "" {
		m.bundleName.connection = m.id
	}
	m.bundle = r.bundles.join(m.bundleName)
	r.byID[m.id] = m
	r.byClient[m.client] = append(r.byClient[m.client], m)
	if m.receives {
		r.receivers.add(m.bundle)
	}
	if m.sends {
		r.senders.add(m.bundle)
	}

	return m
}

func (r *roster) leave(m *member) {
	delete(r.byID, m.id)
	same := r.byClient[m.client]
	index := slices.Index(same, m)
	same[index] = same[len(same)-1]
	same[len(same)-1] = nil
	if same = same[:len(same)-1]; len(same) == 0 {
		delete(r.byClient, m.client)
	} else {
		r.byClient[m.client] = same
	}
	r.bundles.leave(m.bundleName)
	if m.receives {
		r.receivers.remove(m.bundle)
	}
	if m.sends {
		r.senders.remove(m.bundle)
	}
}

// listed calls do for each member that the side's lists name, once.
func (r *roster) listed(s *side, do func(*member)) {
	for _, client := range s.clients {
		for _, m := range r.byClient[client] {
			do(m)
		}
	}
	for _, id := range s.connections {
		if m := r.byID[id]; m != nil && !has(s.clients, m.client) {
			do(m)
		}
	}
}

// named calls do for each member that the side names, once.
func (r *roster) named(s *side, do func(*member)) {
	switch s.form {
	case byConnection, byClient:
		r.listed(s, do)
	case open:
		for _, m := range r.byID {
			if s.names(m) {
				do(m)
			}
		}
	case nobody:
	}
}

// count returns the tally of those named by the side that receive, or that send.
// Of an open side only its exceptions are looked at.
func (r *roster) count(s *side, total tally, counts func(*member) bool) tally {
	if s.form == nobody {
		return tally{}
	}
	var listed tally
	r.listed(s, func(m *member) {
		if counts(m) {
			listed.add(m.bundle)
		}
	})
	if s.form == open {
		return total.minus(listed)
	}

	return listed
}

func receives(m *member) bool { return m.receives }

func sends(m *member) bool { return m.sends }
