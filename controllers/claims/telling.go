package claims

import (
	"context"
	"sync"
)

// teller tells of the changes in one namespace, one after another and in order, while nothing
// is locked that concerns another: whoever is told may take long.
type teller struct {
	// telling is held by whoever tells.
	telling sync.Mutex
	// wake has room for one: something is waiting to be told.
	wake chan struct{}
	// waiting is in order. Claims.mu guards it.
	waiting []news
}

// news is a change, or whether the claims are known, if that is not nil.
type news struct {
	Change

	known *bool
}

// add has something be told. The caller holds the lock of Claims.
func (t *teller) add(n news) {
	t.waiting = append(t.waiting, n)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// tell tells what is waiting of a namespace and returns once that has been told, be it by
// somebody else. The caller holds no lock.
func (c *Claims) tell(namespace string) {
	t := c.tellers[namespace]
	if t == nil {
		return // It is not served.
	}
	t.telling.Lock()
	defer t.telling.Unlock()
	c.mu.Lock()
	waiting := t.waiting
	t.waiting = nil
	c.mu.Unlock()
	for _, n := range waiting {
		if n.known != nil {
			c.config.Known(namespace, *n.known)
		} else {
			c.config.Changed(n.Change)
		}
	}
}

// tellAlways tells of a namespace until ctx ends.
func (c *Claims) tellAlways(ctx context.Context, namespace string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.tellers[namespace].wake:
			c.tell(namespace)
		}
	}
}
