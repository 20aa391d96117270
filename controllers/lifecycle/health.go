package lifecycle

import (
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// panicsInARow is how many panics, and nothing but panics, of a namespace are too many.
const panicsInARow = 10

// health is the account of a term's work, by namespace: a writer that writes nothing
// leaves the office to another. A namespace that cannot be written (it lacks a role
// binding, or its admission webhook answers nothing) is no reason to, as long as
// another can.
type health struct {
	limit time.Duration

	mu       sync.Mutex
	accounts map[string]*account
	err      error
}

// account is a namespace's since the last write that succeeded there.
type account struct {
	since, last time.Time // of failures; zero: none
	panics      int       // in a row
	written     bool
}

// writes tells that the last write has succeeded.
func (a *account) writes() bool { return a.written && a.since.IsZero() && a.panics < panicsInARow }

func (h *health) account(namespace string) *account {
	if h.accounts == nil {
		h.accounts = map[string]*account{}
	}
	a := h.accounts[namespace]
	if a == nil {
		a = &account{}
		h.accounts[namespace] = a
	}

	return a
}

func (h *health) succeeded(namespace string, wrote bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.account(namespace)
	a.panics = 0
	if wrote {
		*a = account{written: true}
	}
}

func (h *health) failed(namespace string, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.account(namespace)
	a.panics = 0
	if a.since.IsZero() || now.Sub(a.last) > 2*lastRetry {
		// A failure that nobody has tried to mend since says nothing of the time between.
		a.since = now
	}
	a.last = now
	if now.Sub(a.since) >= h.limit {
		h.broken(namespace, fmt.Errorf("no write has succeeded for %s: %w", h.limit, err))
	}
}

func (h *health) panicked(namespace string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.account(namespace)
	if a.panics++; a.panics >= panicsInARow {
		h.broken(namespace, fmt.Errorf("nothing but panics, %d in a row: %w", panicsInARow, err))
	}
}

// broken ends the term, unless the last write in some other namespace succeeded.
// Call with mu held.
func (h *health) broken(namespace string, err error) {
	for other, a := range h.accounts {
		if other != namespace && a.writes() {
			return
		}
	}
	if h.err == nil {
		h.err = err
	}
}

// failure tells why the office is to be given up; nil when it is not.
func (h *health) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()

	return h.err
}

// wrote tells that the last write in some namespace has succeeded.
func (h *health) wrote() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.accounts {
		if a.writes() {
			return true
		}
	}

	return false
}

// fine tells that nothing has failed since the last write, if there was any.
func (h *health) fine() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.accounts {
		if !a.since.IsZero() || a.panics > 0 {
			return false
		}
	}

	return true
}

// ofThePauseAlone tells that the failure is about what was written: the namespace's
// other pauses may fare better.
func ofThePauseAlone(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}
