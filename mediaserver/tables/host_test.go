package tables

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// channels is a Host whose channels the test fills, with a real matcher behind it. It
// remembers everything, so that differences can be checked against it.
type channels struct {
	mu        sync.Mutex
	instances uint64
	hosted    map[string]*hosted
	// past holds every instance there was, by number.
	past    map[uint64]*hosted
	applied []Table
	// forwards tells that media flows between those who are there.
	forwards bool
	// forgets tells that differences can never be told.
	forgets bool
	// ambush, if set, runs once after the next look at a channel.
	ambush func()
	// apply and ask, if set, run within Apply and Ask.
	apply func(Table)
	// enforced, if set, is told what a channel's table has become.
	enforced func(channelID string, table map[string]*forwardingv1.Pause)
	ask      func(*forwardingv1.Question) *forwardingv1.Answer
}

// hosted is one instance of a channel.
type hosted struct {
	instance, epoch uint64
	// members are the connections at each epoch, from 1.
	members []map[string]*forwardingv1.Connection
	*forwarder
	holds   bool
	version uint64
	table   map[string]*forwardingv1.Pause
	// states are those at each sequence, from 1.
	states []map[string]*forwardingv1.PauseState
	// moments are what acknowledgements may say: the states at an epoch.
	moments []moment
}

type moment struct {
	epoch    uint64
	sequence uint64
}

func newChannels() *channels {
	return &channels{hosted: make(map[string]*hosted), past: make(map[uint64]*hosted)}
}

// host puts exactly these connections into a channel; none: it ends.
func (c *channels) host(id string, connections ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosted[id]
	if len(connections) == 0 {
		delete(c.hosted, id)
		if h != nil {
			h.forwarder = nil
		}

		return
	}
	if h == nil {
		c.instances++
		h = &hosted{instance: c.instances, forwarder: newForwarder(c.forwards), table: make(map[string]*forwardingv1.Pause)}
		c.hosted[id], c.past[c.instances] = h, h
	}
	if h.media {
		h.send() // Packets are under way whatever happens.
	}
	var before map[string]*forwardingv1.Connection
	if h.epoch > 0 {
		before = h.members[h.epoch-1]
	}
	members := make(map[string]*forwardingv1.Connection)
	for _, connection := range connections {
		if members[connection] = before[connection]; members[connection] == nil {
			members[connection] = newConnection(connection)
			h.join(members[connection])
		}
	}
	for connection := range before {
		if members[connection] == nil {
			h.leave(connection)
		}
	}
	h.epoch++
	h.members = append(h.members, members)
	h.reckon()
}

// newConnection is one of a client of its own that sends and receives.
func newConnection(id string) *forwardingv1.Connection {
	return &forwardingv1.Connection{ConnectionId: id, ClientId: clientOf(id), BundleId: id,
		Role: forwardingv1.Role_ROLE_SENDRECV}
}

func clientOf(connectionID string) string { return "client of " + connectionID }

// reckon notes what the pauses do now.
func (h *hosted) reckon() {
	if !h.holds {
		return
	}
	now := make(map[string]*forwardingv1.PauseState)
	for uid := range h.matcher.Uids() {
		now[uid] = h.matcher.State(uid)
	}
	if len(h.states) == 0 || !equalStates(now, h.states[len(h.states)-1]) {
		h.states = append(h.states, now)
	}
	h.moments = append(h.moments, moment{h.epoch, uint64(len(h.states))})
}

func equalStates(a, b map[string]*forwardingv1.PauseState) bool {
	return maps.EqualFunc(a, b, equalState)
}

func equalState(a, b *forwardingv1.PauseState) bool {
	return a.GetState() == b.GetState() && bytes.Equal(a.GetDigest(), b.GetDigest())
}

func (c *channels) Hosted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()

	return slices.Sorted(maps.Keys(c.hosted))
}

func (c *channels) Membership(id string, instance, since uint64) Membership {
	defer c.spring()
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosted[id]
	if h == nil {
		return Membership{}
	}
	m := Membership{Instance: h.instance, Epoch: h.epoch}
	var before map[string]*forwardingv1.Connection
	if instance == h.instance && since > 0 && !c.forgets {
		m.Base, before = since, h.members[since-1]
	}
	now := h.members[h.epoch-1]
	for id, connection := range now {
		if before[id] == nil {
			m.Joined = append(m.Joined, connection)
		}
	}
	for id := range before {
		if now[id] == nil {
			m.Left = append(m.Left, id)
		}
	}

	return m
}

// spring runs the ambush.
func (c *channels) spring() {
	c.mu.Lock()
	ambush := c.ambush
	c.ambush = nil
	c.mu.Unlock()
	if ambush != nil {
		ambush()
	}
}

func (c *channels) Apply(table Table) {
	if c.apply != nil {
		c.apply(table)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied = append(c.applied, table)
	h := c.hosted[table.ChannelID]
	if h == nil || h.instance != table.Instance {
		return
	}
	removed := table.Removed
	if table.Whole {
		for uid := range h.table {
			if !slices.ContainsFunc(table.Set, func(p *forwardingv1.Pause) bool { return p.GetUid() == uid }) {
				removed = append(removed, uid)
			}
		}
		clear(h.table)
	} else if !h.holds {
		panic("the first table of an instance is a difference")
	}
	for _, uid := range table.Removed {
		if h.table[uid] == nil {
			panic("a pause is removed that is not there")
		}
		delete(h.table, uid)
	}
	for _, pause := range table.Set {
		h.table[pause.GetUid()] = pause
	}
	if h.media {
		h.send()
	}
	h.apply(table.Set, removed)
	h.holds, h.version = true, table.Version
	h.reckon()
	if c.enforced != nil {
		c.enforced(table.ChannelID, h.table)
	}
}

func (c *channels) States(id string, instance, since uint64) States {
	defer c.spring()
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosted[id]
	if h == nil || !h.holds {
		return States{}
	}
	s := States{Instance: h.instance, Epoch: h.epoch, Version: h.version, Sequence: uint64(len(h.states)), Whole: true}
	var before map[string]*forwardingv1.PauseState
	if instance == h.instance && since > 0 && !c.forgets {
		s.Whole, before = false, h.states[since-1]
	}
	now := h.states[len(h.states)-1]
	for uid, state := range now {
		if !equalState(before[uid], state) {
			s.Set = append(s.Set, state)
		}
	}
	for uid := range before {
		if now[uid] == nil {
			s.Removed = append(s.Removed, uid)
		}
	}

	return s
}

func (c *channels) Ask(question *forwardingv1.Question) *forwardingv1.Answer {
	if c.ask != nil {
		return c.ask(question)
	}

	return &forwardingv1.Answer{Count: question.GetInstance()}
}

// tables renders what was applied, in order.
func (c *channels) tables() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	tables := []string{}
	for _, table := range c.applied {
		word := ""
		if table.Whole {
			word = " whole"
		}
		for _, pause := range table.Set {
			word += " " + pause.GetUid()
		}
		for _, uid := range table.Removed {
			word += " -" + uid
		}
		tables = append(tables, fmt.Sprintf("%d%s", table.Version, word))
	}

	return tables
}

// versions returns the versions applied, in order.
func (c *channels) versions() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	versions := []uint64{}
	for _, table := range c.applied {
		versions = append(versions, table.Version)
	}

	return versions
}
