package lifecycle

import (
	"container/list"
	"time"
)

// tenant is a namespace's part of the queue: it has its turns among the namespaces,
// a bound on its workers, and a rest of its own while it cannot be written.
type tenant struct {
	// ready are its pauses, by level, in the order of their turns.
	ready [levels]*list.List
	// place is, by level, the tenant's own in the queue's list; nil while none of its
	// pauses is ready there.
	place [levels]*list.Element
	// running counts the workers at work for it, bulk those at its mass effects.
	running, bulk int
	// failures counts those in a row after which its other pauses would fare no
	// better; rest ends the rest after the last one, nil while it has none.
	failures int
	rest     *time.Timer
}

// longestRest is for how long a namespace that cannot be written is left alone.
const longestRest = 2 * time.Second

// tenant returns the namespace's part. There are no more than --namespaces names,
// so a part stays for as long as the queue does.
func (q *queue) tenant(namespace string) *tenant {
	t := q.tenants[namespace]
	if t == nil {
		t = &tenant{}
		for l := range t.ready {
			t.ready[l] = list.New()
		}
		q.tenants[namespace] = t
	}

	return t
}

// push makes the pause the last of its tenant's at its level.
func (q *queue) push(e *entry) {
	t, l := e.tenant, e.level
	e.element = t.ready[l].PushBack(e)
	if t.place[l] == nil {
		t.place[l] = q.turns[l].PushBack(t)
	}
}

// pull takes the pause out of its tenant's list.
func (q *queue) pull(e *entry) {
	t, l := e.tenant, e.level
	t.ready[l].Remove(e.element)
	e.element = nil
	if t.ready[l].Len() == 0 {
		q.turns[l].Remove(t.place[l])
		t.place[l] = nil
	}
}

// first returns the pause of the level whose turn it is, nil when there is none: the
// namespaces come round robin, so that what one has waiting is in no other's way.
func (q *queue) first(l level) *entry {
	if l == mass && q.bulk >= bulkLimit {
		return nil
	}
	for place := q.turns[l].Front(); place != nil; place = place.Next() {
		t := place.Value.(*tenant)
		if !q.mayRun(t, l) {
			continue
		}
		q.turns[l].MoveToBack(place)

		return t.ready[l].Front().Value.(*entry)
	}

	return nil
}

// mayRun tells that one more worker may be at work for the tenant. The bounds hold
// whether or not another has something ready: a write may take writeTimeout, and a
// namespace that had all workers in such writes would keep them from what comes next.
func (q *queue) mayRun(t *tenant, l level) bool {
	switch {
	case t.rest != nil:
		return false
	case t.failures > 0:
		// One finds out whether it can be written again.
		return t.running == 0
	case len(q.tenants) == 1:
		return true
	}

	return t.running < workers/2 && (l != mass || t.bulk < bulkLimit/2)
}

// tried takes account of how a look at one of the tenant's pauses ended. A failure
// that its others would meet too lets the namespace rest, instead of a worker.
func (q *queue) tried(t *tenant, n next) {
	switch {
	case n.barred && t.rest == nil && !q.closed:
		t.rest = time.AfterFunc(min(firstRetry<<min(t.failures, 10), longestRest), func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			t.rest = nil
			q.waiter.Broadcast()
		})
		t.failures++
	case n.wrote && t.failures > 0 && t.rest == nil:
		t.failures = 0
		q.waiter.Broadcast()
	}
}
