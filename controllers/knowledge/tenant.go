package knowledge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

const (
	// tick is how often the passing of time is looked at.
	tick = 100 * time.Millisecond
	// many is how many pauses one cause must concern to be told as low.
	many = 64
	// deletions is how many deleted pauses are remembered, for those who come to wait
	// for one.
	deletions = 10_000
)

// ErrNotSynced is returned until the pauses of the namespace are known.
var ErrNotSynced = errors.New("the pauses of the namespace are not all known yet: ask again, or ask another replica")

// Tenant is the knowledge of one namespace: its pauses, its media servers, their
// streams. Nothing of one tenant is reachable from another, nor waits for it.
//
// One lock guards all of it, so that what a channel's pauses are and the version
// up to which they are complete always belong together. Nothing under it costs
// more than what it is about: one object, one channel, one media server. Streams that
// come or go, which may be all of them at once, pass a turnstile before it: so a change
// waits for one of them, and not for a thousand.
type Tenant struct {
	namespace string
	config    Config
	store     Store
	metrics   *metrics

	turnstile sync.Mutex

	mu      sync.Mutex
	passed  bool // who holds mu has passed the turnstile
	version uint64
	listed  bool // the initial list is there
	stale   bool // as was told to the streams
	synced  time.Time

	byUID    map[types.UID]*entry
	channels map[string]*channel
	// mentions has the pauses by status.mediaServer. It is the memory of which media
	// servers there were, which outlives managers.
	mentions map[string]map[*entry]struct{}
	// unheard are the media servers that are mentioned, of which nothing has been heard
	// here, and since when: they count as out of touch.
	unheard map[string]time.Time
	// turnedAway is the last media server that was one too many.
	turnedAway turnedAway
	// naming has the pauses with deleteAfterDisconnectSeconds by the connections
	// that they name.
	naming map[string][]*entry

	servers   map[string]*mediaServer
	streaming int // media servers with a stream
	// What media servers hold together, as each is counted.
	connections, connectionBytes, hosted, states int

	joined     *forwardingv1.Connection // the last one that did
	untold     int                      // media servers with channels beyond the bounds
	out        outOfTouch
	anywhere   outOfTouch // of those, who may host channels that it could not claim
	claims     claimed
	members    members
	judgedLost map[*entry]struct{}
	departed   names // connections that have left
	givenUp    names // media servers that were lost for too long
	farewells  names // media servers, by name and pod uid
	gone       names // media servers that host nothing any more, by name and pod uid
	deleted    names // pauses, by uid
	// listens is since when this process has listened without standing still, and attended
	// when it last did.
	listens, attended time.Time
	unsettled         []unsettled

	watchers map[*watcher]struct{}
	notices  []notice // to be told once the lock is released
	bells    bells
}

// watcher is told the names of pauses whose verdict may have changed.
type watcher struct{ enqueue func(name string, low bool) }

type notice struct {
	name string
	low  bool
}

func newTenant(namespace string, config Config, m *metrics) *Tenant {
	return &Tenant{
		namespace: namespace, config: config, metrics: m,
		byUID: map[types.UID]*entry{}, channels: map[string]*channel{},
		mentions: map[string]map[*entry]struct{}{}, unheard: map[string]time.Time{}, naming: map[string][]*entry{},
		servers: map[string]*mediaServer{}, out: newOutOfTouch(), anywhere: newOutOfTouch(),
		judgedLost: map[*entry]struct{}{}, claims: newClaimed(), members: newMembers(),
		farewells: newNames(config.Limits.Names), gone: newNames(config.Limits.Names),
		departed: newNames(config.Limits.Names), givenUp: newNames(config.Limits.Names), deleted: newNames(deletions),
		watchers: map[*watcher]struct{}{},
	}
}

// run looks at what time changes: a store that turns stale, media servers that
// are lost for too long.
func (t *Tenant) run(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			t.turn()
			t.pass(now)
		}
	}
}

// Ready tells why the namespace cannot be served: nil when it can.
func (t *Tenant) Ready() error {
	return t.store.Ready() // It names the namespace.
}

// Synced tells whether the pauses have once been all known.
func (t *Tenant) Synced() bool { return t.store.Synced() }

// Stale tells that the pauses known here may not be all: the API server is not heard.
func (t *Tenant) Stale() bool { return t.store.Stale() }

// Confirm returns once the pauses known here are complete up to at least the
// version, which is of the collection.
func (t *Tenant) Confirm(ctx context.Context, version uint64) error {
	if err := t.store.Confirm(ctx, version); err != nil {
		return fmt.Errorf("the pauses of namespace %q are not known up to version %d: %w", t.namespace, version, err)
	}

	return nil
}

// Streaming counts the media servers that have a stream.
func (t *Tenant) Streaming() int {
	t.mu.Lock()
	defer t.mu.Unlock()

	return t.streaming
}

// Pause returns the object of that name, nil when there is none. It must not be
// changed.
func (t *Tenant) Pause(name string) *held.Pause { return t.store.Get(name) }

// PauseOf returns the object of that uid, nil when there is none. It must not be
// changed.
func (t *Tenant) PauseOf(uid string) *held.Pause {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byUID[types.UID(uid)]; e != nil {
		return e.object
	}

	return nil
}

// Deleted tells whether a pause of that uid was there and is not.
func (t *Tenant) Deleted(uid string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, deleted := t.deleted.at[uid]

	return deleted
}

// Names are the names of the objects of those uids; what is not there is left out.
func (t *Tenant) Names(uids []string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var result []string
	for _, uid := range uids {
		if e := t.byUID[types.UID(uid)]; e != nil {
			result = append(result, e.object.Name)
		}
	}

	return result
}

// watch tells of every pause there is and of whatever changes.
func (t *Tenant) watch(enqueue func(name string, low bool)) (stop func()) {
	w := &watcher{enqueue: enqueue}
	t.mu.Lock()
	t.watchers[w] = struct{}{}
	all := make([]string, 0, len(t.byUID))
	for _, e := range t.byUID {
		all = append(all, e.object.Name)
	}
	t.mu.Unlock()
	for _, name := range all {
		enqueue(name, true)
	}

	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.watchers, w)
	}
}

// notify tells watchers of pauses once the lock is released. The caller holds it.
func (t *Tenant) notify(low bool, entries ...*entry) {
	if len(t.watchers) == 0 {
		return
	}
	for _, e := range entries {
		t.notices = append(t.notices, notice{e.object.Name, low})
	}
}

// notifyAll tells watchers of every pause, low.
func (t *Tenant) notifyAll() {
	for _, e := range t.byUID {
		t.notify(true, e)
	}
}

// lockInTurn takes the lock for a stream that comes or goes. unlock releases it.
func (t *Tenant) lockInTurn() {
	t.turnstile.Lock()
	t.mu.Lock()
	t.passed = true
}

// unlock releases the lock and tells watchers what came together under it.
func (t *Tenant) unlock() {
	if t.passed {
		t.passed = false
		defer t.turnstile.Unlock()
	}
	notices := t.notices
	t.notices = nil
	var watchers []*watcher
	if len(notices) > 0 {
		for w := range t.watchers {
			watchers = append(watchers, w)
		}
	}
	t.mu.Unlock()
	for _, w := range watchers {
		for _, n := range notices {
			w.enqueue(n.name, n.low)
		}
	}
}
