package knowledge

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// Digest is that of a pause's content; zero: it puts no rule on edges.
type Digest [forwardingv1.DigestBytes]byte

// entry is one object.
type entry struct {
	object *held.Pause
	digest Digest
	size   int32 // of the rule, in bytes of the protocol
	beyond bool  // the channel has more pauses than act, and this is a younger one
	gone   bool
	lost   bool // it was judged MediaServerLost last

	// learned is when the content came to be known; zero: with the initial list.
	learned time.Time
	// since is when the generation came to be known, or may have been written: no
	// connection counts as gone before.
	since time.Time
}

// rule tells whether the object puts a rule on edges.
func (e *entry) rule() bool { return e.digest != Digest{} }

// acts tells whether the rule is in the channel's tables.
func (e *entry) acts() bool { return e.rule() && !e.beyond && !e.gone }

// channel is one channel: the pauses that name it, and the media servers that
// host it.
type channel struct {
	id      string
	entries []*entry // oldest first
	rules   int
	bytes   int
	beyond  bool // some do not act
	hosts   []*hosted
}

func (t *Tenant) channel(id string) *channel {
	c := t.channels[id]
	if c == nil {
		c = &channel{id: id}
		t.channels[id] = c
	}

	return c
}

// release forgets a channel of which nothing is known.
func (t *Tenant) release(c *channel) {
	if len(c.entries) == 0 && len(c.hosts) == 0 {
		delete(t.channels, c.id)
	}
}

// apply takes what changed in the objects of the namespace: the push to media
// servers first, then those who watch.
func (t *Tenant) apply(changes []Change, version uint64) {
	now := time.Now()
	if len(changes) == 0 {
		defer t.turn()
	}
	t.mu.Lock()
	defer t.unlock()
	if version < t.version {
		t.backwards()
	}
	t.version = version
	b := batch{t: t, now: now, low: !t.listed || len(changes) > many, touched: map[*channel]*touched{}}
	if !t.listed {
		b.now, t.listed, t.synced = time.Time{}, true, now
	}
	for _, change := range changes {
		b.change(change.Before, change.After)
	}
	b.settle()
	if t.metrics != nil {
		t.metrics.pushes.Add(float64(len(b.touched)))
	}
}

// batch is one step of the objects.
type batch struct {
	t       *Tenant
	now     time.Time // zero: the initial list
	low     bool
	touched map[*channel]*touched
}

// touched are the entries of a channel whose rules have changed, with whether
// their former rule was in the channel's tables, and those that came and went.
type touched struct {
	acted   map[*entry]bool
	added   []*entry
	removed int
}

func (b *batch) of(c *channel) *touched {
	x := b.touched[c]
	if x == nil {
		x = &touched{acted: map[*entry]bool{}}
		b.touched[c] = x
	}

	return x
}

// change replaces one object. One that was deleted and created again under its
// name is another object.
func (b *batch) change(before, after *held.Pause) {
	t := b.t
	if before != nil {
		e := t.byUID[before.UID]
		if e != nil && (after == nil || after.UID != before.UID || after.Spec.ChannelID != e.object.Spec.ChannelID ||
			after.Name != e.object.Name) {
			b.remove(e)
		}
		t.bells.ring(uidBell(string(before.UID)))
	}
	if after == nil {
		return
	}
	e := t.byUID[after.UID]
	if e == nil {
		e = b.add(after)
	} else {
		b.update(e, after)
	}
	t.notify(b.low, e)
	t.bells.ring(uidBell(string(after.UID)))
}

func (b *batch) add(object *held.Pause) *entry {
	e := &entry{object: object, learned: b.now, since: b.now}
	if b.now.IsZero() {
		e.since = b.t.writtenBy(object)
	}
	e.digest, e.size = content(object)
	b.t.byUID[object.UID] = e
	b.t.deleted.remove(string(object.UID))
	b.t.index(e)
	c := b.t.channel(object.Spec.ChannelID)
	x := b.of(c)
	x.added = append(x.added, e)
	c.count(e, 1)
	if e.rule() {
		x.acted[e] = false
	}

	return e
}

// writtenBy is the latest time at which the generation of an object of the
// initial list may have been written, as far as its clock is concerned.
func (t *Tenant) writtenBy(object *held.Pause) time.Time {
	switch {
	case object.Generation <= 1 || object.Status.ObservedGeneration == object.Generation:
		return object.Created()
	default:
		return t.synced
	}
}

func (b *batch) update(e *entry, object *held.Pause) {
	digest, size := content(object)
	moves := !foundAlike(e.object, object)
	if moves {
		b.t.unindex(e)
	}
	if object.Generation != e.object.Generation {
		e.since = b.now
	}
	c := b.t.channel(object.Spec.ChannelID)
	if digest != e.digest {
		x := b.of(c)
		if _, known := x.acted[e]; !known {
			x.acted[e] = e.acts()
		}
		c.count(e, -1)
		e.digest, e.size, e.learned = digest, size, b.now
		c.count(e, 1)
	}
	if e.object = object; moves {
		b.t.index(e)
	}
}

func (b *batch) remove(e *entry) {
	c := b.t.channel(e.object.Spec.ChannelID)
	x := b.of(c)
	if _, known := x.acted[e]; !known {
		x.acted[e] = e.acts()
	}
	x.removed++
	c.count(e, -1)
	e.gone = true
	b.t.unindex(e)
	delete(b.t.judgedLost, e)
	delete(b.t.byUID, e.object.UID)
	b.t.deleted.note(string(e.object.UID), b.now)
	b.t.notify(b.low, e)
}

// settle orders the channels that were touched, finds which pauses act, and marks
// what media servers must hear of.
func (b *batch) settle() {
	for c, x := range b.touched {
		c.order(x)
		c.admit(b, x)
		for e, acted := range x.acted {
			for _, h := range c.hosts {
				h.mark(string(e.object.UID), acted, e.acts())
			}
		}
		b.t.bells.ring(channelBell(c.id))
		b.t.release(c)
	}
}

// content is the digest of the object's rule, and its size.
func content(object *held.Pause) (Digest, int32) {
	rule, err := tables.Pause(object)
	if rule == nil || err != nil {
		return Digest{}, 0
	}

	return Digest(rule.GetDigest()), int32(proto.Size(rule)) //nolint:gosec // An object is 3 MiB at most.
}

func (c *channel) count(e *entry, sign int) {
	if e.rule() {
		c.rules += sign
		c.bytes += sign * int(e.size)
	}
}

// order takes in what came and drops what went, with the cost of the change for a
// single one.
func (c *channel) order(x *touched) {
	older := func(a, b *entry) int { return tables.Older(a.object, b.object) }
	if len(x.added)+x.removed <= 2 {
		for e := range x.acted {
			if at, found := slices.BinarySearchFunc(c.entries, e, older); found && e.gone {
				c.entries = slices.Delete(c.entries, at, at+1)
				x.removed--
			}
		}
		for _, e := range x.added {
			if at, _ := slices.BinarySearchFunc(c.entries, e, older); !e.gone {
				c.entries = slices.Insert(c.entries, at, e)
			}
		}
		x.added = nil
	}
	if x.removed > 0 {
		c.entries = slices.DeleteFunc(c.entries, func(e *entry) bool { return e.gone })
	}
	if len(x.added) > 0 {
		for _, e := range x.added {
			if !e.gone {
				c.entries = append(c.entries, e)
			}
		}
		slices.SortFunc(c.entries, older)
	}
}

// admit finds out which pauses act, as tables.Admit does. Nothing is walked in a
// channel that is within its bounds, and was.
func (c *channel) admit(b *batch, x *touched) {
	over := c.rules > tables.MaxPauses || c.bytes > tables.MaxBytes
	if !over && !c.beyond {
		return
	}
	c.beyond = over
	rules, bytes := 0, 0
	for _, e := range c.entries {
		if !e.rule() {
			continue
		}
		bytes += int(e.size)
		beyond := rules >= tables.MaxPauses || bytes > tables.MaxBytes
		if !beyond {
			rules++
		}
		if beyond == e.beyond {
			continue
		}
		if _, known := x.acted[e]; !known {
			x.acted[e] = e.acts()
		}
		e.beyond = beyond
		b.t.notify(b.low, e)
	}
}

// index notes under which media server, and, if it may be collected, under which
// connections a pause is to be found.
func (t *Tenant) index(e *entry) {
	if server := e.object.Status.MediaServer; server != "" {
		if t.mentions[server] == nil {
			t.mentions[server] = map[*entry]struct{}{}
			t.mentioned(server)
		}
		t.mentions[server][e] = struct{}{}
	}
	for id := range connectionIDs(e.object) {
		t.naming[id] = append(t.naming[id], e)
	}
}

func (t *Tenant) unindex(e *entry) {
	server := e.object.Status.MediaServer
	delete(t.mentions[server], e)
	if len(t.mentions[server]) == 0 {
		delete(t.mentions, server)
		delete(t.unheard, server)
	}
	for id := range connectionIDs(e.object) {
		if at := slices.Index(t.naming[id], e); at >= 0 {
			t.naming[id] = slices.Delete(t.naming[id], at, at+1)
		}
		if len(t.naming[id]) == 0 {
			delete(t.naming, id)
		}
	}
}

// foundAlike tells whether a change leaves the pause where it is found.
func foundAlike(a, b *held.Pause) bool {
	return a.Status.MediaServer == b.Status.MediaServer &&
		(a.Spec.DeleteAfterDisconnectSeconds == nil) == (b.Spec.DeleteAfterDisconnectSeconds == nil) &&
		slices.Equal(a.Spec.Receivers.ConnectionIDs, b.Spec.Receivers.ConnectionIDs) &&
		slices.Equal(a.Spec.Senders.ConnectionIDs, b.Spec.Senders.ConnectionIDs)
}

// connectionIDs yields the connections whose leaving may end the pause.
func connectionIDs(object *held.Pause) iter.Seq[string] {
	return func(yield func(string) bool) {
		if object.Spec.DeleteAfterDisconnectSeconds == nil {
			return
		}
		for _, ids := range [][]string{object.Spec.Receivers.ConnectionIDs, object.Spec.Senders.ConnectionIDs} {
			for _, id := range ids {
				if !yield(id) {
					return
				}
			}
		}
	}
}

// ordered are the keys in order, for messages that promise it.
func ordered[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// all sets every pause of the channel that acts.
func (t *Tenant) all(c *channel, table *Table) {
	for _, e := range c.entries {
		if e.acts() {
			table.Set = append(table.Set, e.object)
		}
	}
	slices.SortFunc(table.Set, func(a, b *held.Pause) int { return cmp.Compare(a.UID, b.UID) })
}

// changes sets those of the pauses that act, and removes those that the stream
// holds and that do not.
func (t *Tenant) changes(dirty map[string]bool, table *Table) {
	for _, uid := range ordered(dirty) {
		e := t.byUID[types.UID(uid)]
		switch {
		case e != nil && e.acts() && e.object.Spec.ChannelID == table.ChannelID:
			table.Set = append(table.Set, e.object)
		case dirty[uid]:
			table.Removed = append(table.Removed, uid)
		}
	}
}
