package lifecycle

import (
	"container/heap"
	"container/list"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// level tells how long a pause may wait for its turn.
type level int

const (
	live level = iota // a change of its own
	due               // its own time has come: expiry, collection, a retry
	mass              // one of many that one cause has touched
	levels
)

// order says in which order the levels are looked at, turn by turn. A mass effect
// holds up no live change; and since strict priorities starve what is low for as
// long as there is something high, every level has its turns.
var order = [8][levels]level{
	{live, due, mass}, {live, due, mass}, {live, due, mass}, {due, live, mass},
	{live, due, mass}, {live, due, mass}, {live, due, mass}, {mass, live, due},
}

// longestWait bounds what timers are asked for: a pause may expire in the year 9999.
const longestWait = 24 * time.Hour

// queue holds each pause that needs a look, once, however much happens to it, and
// hands no pause to two workers at a time. Within a level the namespaces have their
// turns, each with its own list: what one has waiting delays no other.
type queue struct {
	mu      sync.Mutex
	waiter  *sync.Cond
	closed  bool
	turn    int
	entries map[types.NamespacedName]*entry
	// most is how many entries there have been since the map was made.
	most    int
	tenants map[string]*tenant
	// turns are, by level, the tenants with something ready.
	turns [levels]*list.List
	later laterHeap
	timer *time.Timer
	// running are those that workers have.
	running map[*entry]struct{}
	// bulk counts those of them that are of the mass level.
	bulk int
}

// bulkLimit leaves workers, and the API server some room, to live changes, though
// all that waits is a mass effect's.
const bulkLimit = workers / 2

// fewEntries are too few for their room to matter.
const fewEntries = 1000

type entry struct {
	name   types.NamespacedName
	tenant *tenant
	// element is the place in the tenant's list of level; nil while not ready.
	element *list.Element
	level   level
	// began is when a worker took it; zero while none has.
	began time.Time
	// bulk: it was taken from the mass level.
	bulk bool
	// again: touched while a worker had it.
	again bool
	// at is when it becomes ready, at atLevel, though nothing touches it; index is
	// its place in the heap, -1 while it is in none.
	at      time.Time
	atLevel level
	index   int
	// failures counts those in a row.
	failures int
}

func newQueue() *queue {
	q := &queue{entries: map[types.NamespacedName]*entry{}, tenants: map[string]*tenant{}, running: map[*entry]struct{}{}}
	q.waiter = sync.NewCond(&q.mu)
	for l := range q.turns {
		q.turns[l] = list.New()
	}

	return q
}

// add makes the pause ready at the level, or leaves it at a more urgent one.
func (q *queue) add(name types.NamespacedName, l level) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	e := q.entries[name]
	if e == nil {
		e = &entry{name: name, tenant: q.tenant(name.Namespace), index: -1}
		q.entries[name] = e
		q.most = max(q.most, len(q.entries))
	}
	q.makeReady(e, l)
}

func (q *queue) makeReady(e *entry, l level) {
	switch {
	case !e.began.IsZero():
		if !e.again || l < e.level {
			e.level = l
		}
		e.again = true

		return
	case e.element != nil && e.level <= l:
		return
	case e.element != nil:
		q.pull(e)
	}
	e.level = l
	q.push(e)
	q.waiter.Signal()
}

// take waits for a pause whose turn it is; ok is false once the queue is closed.
func (q *queue) take() (name types.NamespacedName, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed {
		for _, l := range order[q.turn] {
			e := q.first(l)
			if e == nil {
				continue
			}
			q.turn = (q.turn + 1) % len(order)
			q.pull(e)
			e.began, e.bulk = time.Now(), l == mass
			q.running[e] = struct{}{}
			e.tenant.running++
			if e.bulk {
				q.bulk++
				e.tenant.bulk++
			}

			return e.name, true
		}
		q.waiter.Wait()
	}

	return types.NamespacedName{}, false
}

// next says when to look at a pause again though nothing touches it.
type next struct {
	// at is zero for never.
	at    time.Time
	level level
	// failed: at follows from how often it has failed in a row.
	failed bool
	// barred: it failed, and the other pauses of its namespace would fare no better.
	barred bool
	// wrote: the namespace has been written.
	wrote bool
}

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// done ends what take began.
func (q *queue) done(name types.NamespacedName, n next) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[name]
	e.began = time.Time{}
	delete(q.running, e)
	e.tenant.running--
	if e.bulk {
		q.bulk--
		e.tenant.bulk--
	}
	q.tried(e.tenant, n)
	q.waiter.Signal()
	if n.failed {
		n.at, n.level = time.Now().Add(min(firstRetry<<min(e.failures, 10), lastRetry)), due
		e.failures++
	} else {
		e.failures = 0
	}
	q.schedule(e, n)
	if e.again {
		e.again = false
		q.makeReady(e, e.level)
	}
	if e.element == nil && e.index < 0 {
		delete(q.entries, name)
		q.giveBack()
	}
}

// giveBack frees the room that a mass effect took: a map keeps it.
func (q *queue) giveBack() {
	if len(q.entries) == 0 && q.most > fewEntries {
		q.entries, q.most = map[types.NamespacedName]*entry{}, 0
	}
}

// schedule replaces the time at which the pause becomes ready by itself.
func (q *queue) schedule(e *entry, n next) {
	if e.index >= 0 {
		heap.Remove(&q.later, e.index)
	}
	if n.at.IsZero() || q.closed {
		return
	}
	e.at, e.atLevel = n.at, n.level
	heap.Push(&q.later, e)
	if e.index == 0 {
		q.wind()
	}
}

// wind sets the timer to the first time that is to come.
func (q *queue) wind() {
	if q.timer != nil {
		q.timer.Stop()
	}
	if len(q.later) > 0 && !q.closed {
		q.timer = time.AfterFunc(min(time.Until(q.later[0].at), longestWait), q.ring)
	}
}

func (q *queue) ring() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for now := time.Now(); len(q.later) > 0 && !q.later[0].at.After(now); {
		e := heap.Pop(&q.later).(*entry)
		q.makeReady(e, e.atLevel)
	}
	q.wind()
}

// close lets nobody take anything any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.timer != nil {
		q.timer.Stop()
	}
	for _, t := range q.tenants {
		if t.rest != nil {
			t.rest.Stop()
		}
	}
	q.waiter.Broadcast()
}

// oldest is since when the work that has lasted longest has lasted; now when
// there is none.
func (q *queue) oldest(now time.Time) time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	for e := range q.running {
		if e.began.Before(now) {
			now = e.began
		}
	}

	return now
}

// depth returns how many are ready at the level.
func (q *queue) depth(l level) (ready int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.tenants {
		ready += t.ready[l].Len()
	}

	return ready
}

// laterHeap has the pause whose time comes first at its top.
type laterHeap []*entry

func (h laterHeap) Len() int           { return len(h) }
func (h laterHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h laterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *laterHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *laterHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.index = -1

	return e
}
