package lifecycle

import (
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// panicsInARow is how many panics, and nothing but panics, end a term.
const panicsInARow = 10

// health is the account of a term's work: a writer that writes nothing leaves the
// office to another. A namespace in which this manager lacks rights is no reason to,
// as long as it can write in another.
type health struct {
	limit time.Duration

	mu sync.Mutex
	// all is the account of what fails wherever it is tried; rights are by namespace.
	all    account
	rights map[string]*account
	panics int
	err    error
}

// account is of failures since the last write that succeeded.
type account struct {
	since, last time.Time // zero: none
	written     bool
}

func (a *account) failed(now time.Time) (lasting time.Duration) {
	if a.since.IsZero() || now.Sub(a.last) > 2*lastRetry {
		// A failure that nobody has tried to mend since says nothing of the time between.
		a.since = now
	}
	a.last = now

	return now.Sub(a.since)
}

func (a *account) wrote() { *a = account{written: true} }

func (h *health) rightsIn(namespace string) *account {
	if h.rights == nil {
		h.rights = map[string]*account{}
	}
	a := h.rights[namespace]
	if a == nil {
		a = &account{}
		h.rights[namespace] = a
	}

	return a
}

func (h *health) succeeded(namespace string, wrote bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.panics = 0
	if wrote {
		h.all.wrote()
		h.rightsIn(namespace).wrote()
	}
}

func (h *health) failed(namespace string, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.panics = 0
	var lasting time.Duration
	if apierrors.IsForbidden(err) {
		if lasting = h.rightsIn(namespace).failed(now); h.writesElsewhere(namespace) {
			return
		}
	} else {
		lasting = h.all.failed(now)
	}
	if lasting >= h.limit && h.err == nil {
		h.err = fmt.Errorf("no write has succeeded for %s: %w", h.limit, err)
	}
}

// writesElsewhere tells that the last write in some other namespace succeeded. Call
// with mu held.
func (h *health) writesElsewhere(namespace string) bool {
	for other, a := range h.rights {
		if other != namespace && a.written && a.since.IsZero() {
			return true
		}
	}

	return false
}

// hinders tells that the next pause would fare no better: the failure is neither
// about the object that was written nor about its namespace alone.
func (h *health) hinders(namespace string, err error) bool {
	switch {
	case err == nil, apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return false
	case apierrors.IsForbidden(err):
		h.mu.Lock()
		defer h.mu.Unlock()

		return !h.writesElsewhere(namespace)
	}

	return true
}

func (h *health) panicked(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.panics++; h.panics >= panicsInARow && h.err == nil {
		h.err = fmt.Errorf("nothing but panics, %d in a row: %w", panicsInARow, err)
	}
}

// failure tells why the office is to be given up; nil when it is not.
func (h *health) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()

	return h.err
}

// wrote tells that the last write anywhere has succeeded.
func (h *health) wrote() bool {
	h.mu.Lock()
	defer h.mu.Unlock()

	return h.all.written && h.all.since.IsZero()
}

// fine tells that nothing has failed since the last write, if there was any.
func (h *health) fine() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.rights {
		if !a.since.IsZero() {
			return false
		}
	}

	return h.all.since.IsZero() && h.panics == 0
}
