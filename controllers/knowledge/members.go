package knowledge

import (
	"crypto/rand"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// membersEvery is how often streams are told of changed members at most: a thousand
	// media servers that come at once are told of by the hundred.
	membersEvery = 200 * time.Millisecond
	// membersRemembered bounds the changes that a stream is told as such; one that has not
	// been told of the one before them is told all members.
	membersRemembered = 8192
	// membersTold bounds the members in one message; they have 2 KiB at most.
	membersTold = 400
	// memberKeyBytes is how long the key is by which media servers know each other.
	memberKeyBytes = 32
)

// members are the media servers of the namespace that have a stream, as a sequence of
// changes: each stream remembers how many of them it has been told.
type members struct {
	key []byte
	// changed are the names in the last changes; before counts those that are forgotten.
	changed []string
	before  uint64
	// shown is up to which change streams are told, and shownAt since when.
	shown   uint64
	shownAt time.Time
}

func newMembers() members {
	key := make([]byte, memberKeyBytes)
	_, _ = rand.Read(key) // It never fails.

	return members{key: key}
}

// memberChanged notes that a media server has come, has gone or stands otherwise. The
// caller holds the lock.
func (t *Tenant) memberChanged(name string) {
	m := &t.members
	if len(m.changed) == membersRemembered {
		half := membersRemembered / 2
		m.changed = append([]string(nil), m.changed[half:]...)
		m.before += uint64(half)
	}
	m.changed = append(m.changed, name)
}

// showMembers has streams be told what has changed, once it is known who there is: a
// manager that has just begun would tell that most are gone. The caller holds the lock.
func (t *Tenant) showMembers(now time.Time) {
	m := &t.members
	latest := m.before + uint64(len(m.changed))
	early := t.synced.IsZero() || now.Sub(t.synced) < OfficeBeforeArmed
	if m.shown == latest || early || now.Sub(m.shownAt) < membersEvery {
		return
	}
	m.shown, m.shownAt = latest, now
	for _, server := range t.servers {
		if server.session != nil {
			server.session.signal()
		}
	}
}

// nextMembers are the members that the stream has not been told yet; nil: it has. The
// caller holds the lock.
func (s *Session) nextMembers() *forwardingv1.Members {
	if len(s.members) == 0 {
		s.members = s.tenant.membersSince(s.membersTold)
		s.membersTold = s.tenant.members.shown
	}
	if len(s.members) == 0 {
		return nil
	}
	next := s.members[0]
	s.members = s.members[1:]

	return next
}

// membersSince makes messages of what has changed since so many changes, or, where those
// are not remembered, of all members: the first says so, and the others add to it.
func (t *Tenant) membersSince(told uint64) (parts []*forwardingv1.Members) {
	m := &t.members
	if told == m.shown {
		return nil
	}
	part := &forwardingv1.Members{}
	add := func(server *mediaServer, name string) {
		if len(part.Set)+len(part.Removed) == membersTold {
			parts = append(parts, part)
			part = &forwardingv1.Members{}
		}
		if server != nil && server.session != nil {
			part.Set = append(part.Set, server.member)
		} else {
			part.Removed = append(part.Removed, name)
		}
	}
	if told == 0 || told < m.before {
		part.Whole, part.Key = true, m.key
		for name, server := range t.servers {
			if server.session != nil {
				add(server, name)
			}
		}

		return append(parts, part)
	}
	added := map[string]bool{}
	for _, name := range m.changed[told-m.before:] {
		if !added[name] {
			added[name] = true
			add(t.servers[name], name)
		}
	}

	return append(parts, part)
}
