package claims

import (
	"maps"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// remembered is for how long it is remembered, at least, that a Lease is deleted.
const remembered = time.Minute

// get is the claim as it is known here; nil: there is none. It must not be changed.
// known tells that the API server is heard, so that it would be known.
func (c *Claims) get(name string) (held *claim, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()

	return c.held[name], c.known
}

// take notes a Lease as the API server has just said it is; written: in answer to a write
// of this replica's.
func (c *Claims) take(lease *coordinationv1.Lease, written bool) *claim {
	next, err := decode(lease)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.stray(lease, err)
		c.put(lease.Name, nil)

		return nil
	}
	if _, gone := c.dropped[next.uid]; gone && !written {
		return c.held[next.name]
	}
	if held := c.held[next.name]; held != nil && held.version >= next.version {
		return held // What a watch tells may be older than what a write was answered.
	}
	if next.learned = time.Now(); written {
		next.written = next.learned
		delete(c.dropped, next.uid) // A restored etcd has it again.
	}
	c.put(next.name, next)

	return next
}

func (c *Claims) stray(lease *coordinationv1.Lease, err error) {
	c.log.Warn("a Lease with the label of claims is none: delete it", "namespace", lease.Namespace, "name", lease.Name,
		"err", err)
}

// drop notes that a read has found no Lease in the claim's place, which is as it was known
// when the read began: what has come to be known since may be newer.
func (c *Claims) drop(before *claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before != nil && c.held[before.name] == before {
		c.put(before.name, nil)
	}
}

// dropDeleted notes that a Lease is deleted: what others tell of it later is older, be it
// a read that was answered before.
func (c *Claims) dropDeleted(name, uid string) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.swept) >= remembered {
		c.swept = now
		maps.DeleteFunc(c.dropped, func(_ string, at time.Time) bool { return now.Sub(at) > remembered })
	}
	c.dropped[uid] = now
	if held := c.held[name]; held != nil && held.uid == uid {
		c.put(name, nil)
	}
}

// replace takes a list of all Leases, which was begun at the time given. What this replica
// has written since then is newer.
func (c *Claims) replace(all []coordinationv1.Lease, began time.Time) {
	listed := make(map[string]*claim, len(all))
	for i := range all {
		next, err := decode(&all[i])
		if err != nil {
			c.stray(&all[i], err)

			continue
		}
		next.learned = time.Now()
		listed[next.name] = next
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Collect(maps.Keys(c.held)) {
		if listed[name] == nil && !c.held[name].written.After(began) {
			c.put(name, nil)
		}
	}
	for name, next := range listed {
		held := c.held[name]
		switch {
		case held != nil && (held.uid == next.uid && held.version == next.version || held.written.After(began)):
		case c.dropped[next.uid].After(began):
		default:
			delete(c.dropped, next.uid) // A restored etcd has it again.
			c.put(name, next)
		}
	}
}

// put replaces a claim and has it be told where its owner is another one. The caller holds
// the lock.
func (c *Claims) put(name string, next *claim) {
	held := c.held[name]
	if held != nil {
		delete(c.held, name)
		c.counts[held.namespace]--
		key := holderKey{held.namespace, held.holder}
		delete(c.holders[key], name)
		if len(c.holders[key]) == 0 {
			delete(c.holders, key)
		}
	}
	if next != nil {
		c.held[name] = next
		c.counts[next.namespace]++
		key := holderKey{next.namespace, next.holder}
		if c.holders[key] == nil {
			c.holders[key] = map[string]bool{}
		}
		c.holders[key][name] = true
	}
	var before, after Holder
	of := held
	if held != nil {
		before = held.holder
	}
	if next != nil {
		of, after = next, next.holder
	}
	if before == after {
		return // There may have been no claim, and be none.
	}
	if t := c.tellers[of.namespace]; t != nil {
		t.add(news{Change: Change{of.namespace, of.channelID, after}})
	}
}

// setKnown notes whether the claims are followed, and if not why.
func (c *Claims) setKnown(problem error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problem = problem
	if known := problem == nil; known != c.known {
		c.known = known
		for _, t := range c.tellers {
			t.add(news{known: &known})
		}
	}
}
