package serve

import (
	"sync"
	"time"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// tenant is one watched namespace: its pauses, its media servers, their streams.
// Nothing of one tenant is reachable from another.
type tenant struct {
	namespace string
	store     *store
	presence  *presence
	bells     bells
	metrics   *metrics

	mu       sync.Mutex
	streams  map[*stream]struct{}
	learned  map[string]learned // by uid
	watchers map[*watcher]struct{}
}

type learned struct {
	generation int64
	at         time.Time
}

// watcher is told the names of pauses about which something may have changed.
type watcher struct{ enqueue func(name string) }

func newTenant(namespace string, m *metrics) *tenant {
	t := &tenant{
		namespace: namespace, metrics: m,
		streams: map[*stream]struct{}{}, learned: map[string]learned{}, watchers: map[*watcher]struct{}{},
	}
	t.presence = newPresence(t.channelChanged, t.learnedAt)

	return t
}

// objectChanged is the informer's event handler: it marks and returns. The push
// comes first; status and waiters follow.
func (t *tenant) objectChanged(before, after *v1alpha1.RtpStreamPause) {
	t.learn(before, after)
	if !samePause(before, after) {
		for _, o := range []*v1alpha1.RtpStreamPause{before, after} {
			if o != nil {
				t.push(o.Spec.ChannelID)
			}
		}
	}
	for _, o := range []*v1alpha1.RtpStreamPause{before, after} {
		if o != nil {
			t.enqueue(o.Name)
			t.bells.ring(uidBell(string(o.UID)))
		}
	}
}

// learn notes when a generation came to be known. Objects of the initial list
// are older than this replica; nothing is known of when they began.
func (t *tenant) learn(before, after *v1alpha1.RtpStreamPause) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if before != nil && (after == nil || after.UID != before.UID) {
		delete(t.learned, string(before.UID))
	}
	if after == nil || t.learned[string(after.UID)].generation == after.Generation {
		return
	}
	entry := learned{generation: after.Generation}
	if t.store != nil && t.store.handled != nil && t.store.synced() {
		entry.at = time.Now()
	}
	t.learned[string(after.UID)] = entry
}

func (t *tenant) learnedAt(uid string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()

	return t.learned[uid].at
}

func (t *tenant) push(channelID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for st := range t.streams {
		st.push(channelID)
	}
	t.metrics.pushes.Inc()
}

func (t *tenant) addStream(st *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams[st] = struct{}{}
}

func (t *tenant) removeStream(st *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.streams, st)
}

// channelChanged tells watchers of the channel's pauses; of all, when the channel
// is empty.
func (t *tenant) channelChanged(channelID string) {
	if channelID == "" {
		for _, o := range t.store.informer.GetIndexer().List() {
			t.enqueue(pauseOf(o).Name)
		}

		return
	}
	for _, pause := range t.store.pauses(channelID) {
		t.enqueue(pause.Name)
	}
	t.bells.ring(channelBell(channelID))
}

func (t *tenant) enqueue(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for w := range t.watchers {
		w.enqueue(name)
	}
}

// watch tells w every pause once, then whatever changes.
func (t *tenant) watch(w *watcher) (stop func()) {
	t.mu.Lock()
	t.watchers[w] = struct{}{}
	t.mu.Unlock()
	for _, o := range t.store.informer.GetIndexer().List() {
		w.enqueue(pauseOf(o).Name)
	}

	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.watchers, w)
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
