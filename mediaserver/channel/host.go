package channel

import (
	"cmp"
	"slices"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

var _ tables.Host = (*Registry)(nil)

// Hosted returns the ids of all channels with a connection in them.
func (r *Registry) Hosted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()

	ids := make([]string, 0, len(r.channels))
	for id := range r.channels {
		ids = append(ids, id)
	}
	slices.Sort(ids)

	return ids
}

// Membership tells who came to a channel and who went since an epoch.
func (r *Registry) Membership(channelID string, instance, since uint64) tables.Membership {
	ch := r.lock(channelID)
	if ch == nil {
		return tables.Membership{}
	}
	defer ch.mu.Unlock()
	if ch.epoch == 0 { // Its first member is about to join.
		return tables.Membership{}
	}

	return ch.membership(instance, since)
}

func (ch *channel) membership(instance, since uint64) tables.Membership {
	m := tables.Membership{Instance: ch.instance, Epoch: ch.epoch}
	arrivals, held := ch.arrivals.since(since)
	if since == 0 || instance != ch.instance || since > ch.epoch || !held {
		m.Joined = make([]*forwardingv1.Connection, len(ch.members))
		for i, member := range ch.members {
			m.Joined[i] = member.connection
		}

		return m
	}

	m.Base = since
	came := make(map[string]struct{})
	for _, a := range arrivals {
		_, newcomer := came[a.what.id]
		switch {
		case !a.what.left:
			came[a.what.id] = struct{}{}
			if member := ch.byID[a.what.id]; member != nil {
				m.Joined = append(m.Joined, member.connection)
			}
		case !newcomer:
			m.Left = append(m.Left, a.what.id)
		}
	}

	return m
}

// Apply makes a table, or what changed in one, what is in force and returns when
// it is: then every edge that it withholds has been fenced. A channel that is not
// hosted, or is another instance, ignores it.
func (r *Registry) Apply(table tables.Table) {
	ch := r.lock(table.ChannelID)
	if ch == nil {
		return
	}
	defer ch.mu.Unlock()
	if ch.instance == table.Instance {
		ch.apply(table)
	}
}

// States tells which pauses of a channel do something else since a sequence.
func (r *Registry) States(channelID string, instance, since uint64) tables.States {
	states := r.states(channelID, instance, since)
	slices.SortFunc(states.Set, func(a, b *forwardingv1.PauseState) int { return cmp.Compare(a.GetUid(), b.GetUid()) })

	return states
}

func (r *Registry) states(channelID string, instance, since uint64) tables.States {
	ch := r.lock(channelID)
	if ch == nil {
		return tables.States{}
	}
	defer ch.mu.Unlock()
	if ch.sequence == 0 {
		return tables.States{}
	}

	s := tables.States{Instance: ch.instance, Epoch: ch.epoch, Version: ch.version, Sequence: ch.sequence}
	changes, held := ch.changes.since(since)
	if since == 0 || instance != ch.instance || since > ch.sequence || !held {
		s.Whole = true
		for uid := range ch.matcher.Uids() {
			s.Set = append(s.Set, ch.matcher.State(uid))
		}

		return s
	}

	told := make(map[string]struct{}, len(changes))
	for _, change := range changes {
		uid := change.what
		if _, twice := told[uid]; twice {
			continue
		}
		told[uid] = struct{}{}
		if state := ch.matcher.State(uid); state != nil {
			s.Set = append(s.Set, state)
		} else {
			s.Removed = append(s.Removed, uid)
		}
	}

	return s
}
