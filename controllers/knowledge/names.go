package knowledge

import (
	"sync"
	"time"
)

// names remembers names with a time each, a bounded number of them: the oldest are
// forgotten.
type names struct {
	limit int
	at    map[string]time.Time
	order []named // may hold names that are noted anew further back, or gone
}

type named struct {
	name string
	at   time.Time
}

func newNames(limit int) names { return names{limit: limit, at: map[string]time.Time{}} }

func (n *names) note(name string, at time.Time) {
	n.at[name] = at
	n.order = append(n.order, named{name, at})
	for len(n.at) > n.limit || len(n.order) > 2*n.limit {
		n.dropFirst()
	}
}

func (n *names) remove(name string) { delete(n.at, name) }

// forget drops what was noted before the time given.
func (n *names) forget(before time.Time) {
	for len(n.order) > 0 && n.order[0].at.Before(before) {
		n.dropFirst()
	}
}

func (n *names) dropFirst() {
	first := n.order[0]
	n.order = n.order[1:]
	if at, ok := n.at[first.name]; ok && at.Equal(first.at) {
		delete(n.at, first.name)
	}
}

// bells wake those who wait for a pause or a channel to change.
type bells struct {
	mu    sync.Mutex
	bells map[string]map[chan struct{}]struct{}
}

func uidBell(uid string) string           { return "pause/" + uid }
func channelBell(channelID string) string { return "channel/" + channelID }

// listen returns stop; until then every ring leaves a token in c.
func (b *bells) listen(key string, c chan struct{}) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bells == nil {
		b.bells = map[string]map[chan struct{}]struct{}{}
	}
	if b.bells[key] == nil {
		b.bells[key] = map[chan struct{}]struct{}{}
	}
	b.bells[key][c] = struct{}{}

	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.bells[key], c)
		if len(b.bells[key]) == 0 {
			delete(b.bells, key)
		}
	}
}

func (b *bells) ring(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.bells[key] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// OnPause leaves a token in c, which has room for one, whenever the object of
// that uid changes, until stop is called.
func (t *Tenant) OnPause(uid string, c chan struct{}) (stop func()) {
	return t.bells.listen(uidBell(uid), c)
}

// OnChannel leaves a token in c, which has room for one, whenever something of
// the channel changes: who is there, or what is acknowledged.
func (t *Tenant) OnChannel(channelID string, c chan struct{}) (stop func()) {
	return t.bells.listen(channelBell(channelID), c)
}
