package lifecycle

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// requests is the account of a candidate's requests for the lease. The elector
// repeats one that fails for ever, and nobody would learn that it stands in vain.
type requests struct {
	// limit is for how long they may fail.
	limit     time.Duration
	namespace string
	log       *slog.Logger

	mu sync.Mutex
	// err is the last failure, nil when none counts; since and last are when the first
	// and the last of those in a row were; reading tells that it was of a read.
	err         error
	since, last time.Time
	reading     bool
	// told: the log has it.
	told bool
	// record is the lease as it was last read.
	record []byte
}

// read takes account of a read of the lease.
func (r *requests) read(record []byte, err error, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		r.failed(err, true, now)
	case r.reading, err == nil && r.record != nil && !bytes.Equal(r.record, record):
		// That it can be read says nothing of the writing, unless somebody renews it:
		// then there is nothing to be written.
		r.succeeded()
	}
	if err == nil {
		r.record = record
	}
}

// written takes account of a creation of the lease, or an update.
func (r *requests) written(err error, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed(err, false, now)

		return
	}
	r.succeeded()
}

// failed keeps the failure. Call with mu held.
func (r *requests) failed(err error, reading bool, now time.Time) {
	if r.err == nil || now.Sub(r.last) > r.limit {
		// Who has not stood for election meanwhile has not failed in it.
		r.since = now
	}
	r.err, r.last, r.reading = err, now, reading
	if err := r.lasting(); err != nil && !r.told {
		r.told = true
		r.log.Error("this manager cannot be elected to write status", "err", err)
	}
}

// succeeded forgets the failures. Call with mu held.
func (r *requests) succeeded() {
	if r.told {
		r.log.Info("the lease can be had again")
	}
	r.err, r.reading, r.told = nil, false, false
}

// failing tells of failures that have lasted for as long as the limit; nil when there
// are none.
func (r *requests) failing() error {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.lasting()
}

// lasting is failing. Call with mu held.
func (r *requests) lasting() error {
	if r.err == nil || r.last.Sub(r.since) < r.limit {
		return nil
	}
	mend := ""
	switch {
	case apierrors.IsForbidden(r.err):
		mend = fmt.Sprintf("; bind the role nagi-manager to the manager's ServiceAccount in --lease-namespace=%s",
			r.namespace)
	case apierrors.IsNotFound(r.err):
		mend = fmt.Sprintf("; --lease-namespace=%s is to name a namespace that there is", r.namespace)
	}

	return fmt.Errorf("this manager cannot be elected to write status: the lease %s/%s could not be had since %s: %w%s",
		r.namespace, LeaseName, r.since.UTC().Format(time.RFC3339), r.err, mend)
}
