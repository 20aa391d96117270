package objects

import (
	"context"
	stdjson "encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// readEvery is how often the collection is read again while it has another
	// number of objects than are held.
	readEvery = 20 * time.Millisecond
	// After a read's answer the watch is given as long again as the answer took, within
	// these bounds, to bring what the API server was about to send at the same time.
	settleAtLeast, settleAtMost = time.Millisecond, 10 * time.Millisecond
	// readPatience is how long the API server may take to reach a version; after that
	// the version may be one that it never will.
	readPatience = 250 * time.Millisecond
	// few is of how many objects the API server is asked for their number: it walks
	// over all of them to tell.
	few = 2_000
	// notCounted stands for a number that was not asked for.
	notCounted = -1
)

// reads are the store's reads of the collection's version and size. Whoever asks
// shares a read that begins after the question. Guarded by the store's lock.
type reads struct {
	wanted chan struct{}
	next   *read
}

type read struct {
	generation uint64
	// notBefore is the version that the collection must have reached, 0 for the
	// newest there is.
	notBefore uint64
	done      chan struct{}
	// What follows is set when done is closed.
	version uint64
	count   int
	// outstanding is the version of an event that had not been handed over.
	outstanding uint64
	at          time.Time
	err         error
}

// Confirm returns nil once the state handed to Changed is complete up to at least
// version, a resource version of the collection, and otherwise, when ctx ends, why not.
//
// An event or a bookmark of that version or a later one proves it. But versions also
// move by writes of other things, and bookmarks come once a minute. So Confirm also
// has the collection read: its version, and how many objects it has; and then has a
// second watch opened from the held version on, in which the API server repeats at
// once whatever has happened since. The state counts as complete when it holds as
// many objects, and every event that the second watch has brought.
//
// What that proves: no creation and no deletion is outstanding, unless as many of
// the one as of the other are, or there are more than 2,000 objects, when they are
// not counted. Those, and edits, would be shown by the second watch,
// which takes them from the same cache that has answered the read, on another path
// than the first watch; but that it has shown all it has, only time tells, and it is
// given as long again as it took to open. On two cores with a load of twenty, the
// first watch alone was late for 3 of 2,500 edits, once by a second; with the second
// watch none was missed.
func (s *Store) Confirm(ctx context.Context, version uint64) error {
	defer func(began time.Time) { s.metrics.confirm.Observe(time.Since(began).Seconds()) }(time.Now())
	var last, pending *read
	notBefore := version
	for {
		s.mu.Lock()
		confirmed, following, ended := s.complete(version, last), s.following(), s.ended
		if !confirmed && following && pending == nil && last.due(version) {
			pending = s.wantRead(notBefore)
		}
		moved := s.moved
		s.waiting = true
		s.mu.Unlock()
		if confirmed {
			return nil
		}
		if ended || ctx.Err() != nil {
			return s.unconfirmed(version, last)
		}

		var answered chan struct{}
		var timer *time.Timer
		var look <-chan time.Time
		switch {
		case pending != nil:
			answered = pending.done
		case following:
			timer = time.NewTimer(time.Until(last.at.Add(last.every(version))))
			look = timer.C
		}
		select {
		case <-moved:
		case <-look:
		case <-ctx.Done():
		case <-answered:
			last, pending = pending, nil
			if last.err != nil {
				notBefore = 0
			}
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// complete is called with the lock held.
func (s *Store) complete(version uint64, last *read) bool {
	switch {
	case !s.following():
		return false
	case s.version >= version:
		return true
	}

	return last != nil && last.err == nil && last.generation == s.generation && last.version >= version &&
		s.version >= last.outstanding && !s.handling.Load() && (last.count == notCounted || last.count == s.held.count())
}

// due tells that the collection should be read again, or at all.
func (r *read) due(version uint64) bool { return r == nil || time.Since(r.at) >= r.every(version) }

// every is how long this answer, which was not enough, is taken for the present one.
func (r *read) every(version uint64) time.Duration {
	switch {
	case r.err != nil && r.notBefore != 0:
		return 0
	case r.err != nil || r.version < version:
		return retryEvery
	}

	return readEvery
}

func (s *Store) unconfirmed(version uint64, last *read) error {
	if err := s.Ready(); err != nil {
		return fmt.Errorf("version %d is not confirmed: %w", version, err)
	}
	s.mu.RLock()
	at, count := s.version, s.held.count()
	s.mu.RUnlock()
	switch {
	case last == nil:
		return fmt.Errorf("version %d is not confirmed: the pauses are complete up to %d, and the API server has not "+
			"answered in time", version, at)
	case last.err != nil:
		return fmt.Errorf("version %d is not confirmed: the pauses are complete up to %d: %w", version, at, last.err)
	case last.version < version:
		return fmt.Errorf("version %d is not confirmed: the API server is at %d; has etcd been restored?",
			version, last.version)
	}

	if last.outstanding > at {
		return fmt.Errorf("version %d is not confirmed: the pauses are complete up to %d, and there is an event of %d",
			version, at, last.outstanding)
	}

	return fmt.Errorf("version %d is not confirmed: the pauses are complete up to %d, and %d are known of %d", version,
		at, count, last.count)
}

// wantRead is called with the lock held.
//
// A read for the newest version waits in the API server until its cache knows that
// nothing else is outstanding, which it asks etcd ten times a second at most. That
// the cache has reached one version is known at once, so that is asked first. But a
// version from before etcd was restored may never be reached.
func (s *Store) wantRead(notBefore uint64) *read {
	if s.reads.next == nil {
		s.reads.next = &read{done: make(chan struct{}), generation: s.generation}
	}
	s.reads.next.notBefore = max(s.reads.next.notBefore, notBefore)
	select {
	case s.reads.wanted <- struct{}{}:
	default:
	}

	return s.reads.next
}

// serveReads reads the collection, one read at a time, while somebody wants it.
func (s *Store) serveReads(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.reads.wanted:
		}
		s.mu.Lock()
		r := s.reads.next
		s.reads.next = nil
		s.mu.Unlock()
		if r != nil {
			s.read(ctx, r)
			close(r.done)
		}
	}
}

// read asks for the collection's version and size, and for what the watch has not
// brought yet.
func (s *Store) read(ctx context.Context, r *read) {
	s.mu.RLock()
	many := s.held.count() > s.config.few
	s.mu.RUnlock()
	parameters := map[string]string{}
	if many {
		parameters["fieldSelector"] = oneName
	}
	if r.notBefore != 0 {
		parameters["resourceVersion"] = strconv.FormatUint(r.notBefore, 10)
		parameters["resourceVersionMatch"] = string(metav1.ResourceVersionMatchNotOlderThan)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, readPatience)
		defer cancel()
	}
	answer, err := s.connection.page(ctx, 1, parameters)
	if err == nil {
		if r.count = notCounted; !many {
			r.count = len(answer.Items) + answer.Metadata.RemainingItemCount
		}
		r.version, err = parseVersion(answer.Metadata.ResourceVersion)
	}
	if err != nil {
		r.err = fmt.Errorf("read the collection: %w", advise(err))
	} else if held := s.Version(); held < r.version {
		r.outstanding, r.err = s.look(ctx, held)
	}
	r.at = time.Now()
}

// look opens a second watch from the held version on, in which the API server first
// repeats what has happened since, and returns the version of the last event that
// came within the time that is given to them; 0 when nothing came. A watch that did
// not live for that long has shown nothing, which is an error.
func (s *Store) look(ctx context.Context, held uint64) (outstanding uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	body, err := s.connection.open(ctx, map[string]string{
		"watch":           "true",
		"resourceVersion": strconv.FormatUint(held, 10),
		"timeoutSeconds":  "1",
	})
	if err != nil {
		return 0, fmt.Errorf("watch from version %d: %w", held, advise(err))
	}
	defer body.Close()
	// As long again as the answer took: on a busy machine everything takes longer.
	var enough atomic.Bool
	timer := time.AfterFunc(min(max(time.Since(began), settleAtLeast), settleAtMost), func() {
		enough.Store(true)
		cancel()
	})
	defer timer.Stop()
	for frames := stdjson.NewDecoder(body); ; {
		var e event
		err := frames.Decode(&e)
		switch {
		case err != nil && enough.Load():
			return outstanding, nil
		case err != nil:
			return 0, fmt.Errorf("watch from version %d: it ended early: %w", held, err)
		case e.Type == "ERROR":
			return 0, fmt.Errorf("watch from version %d: the API server said %s", held, e.Object)
		}
		if outstanding, err = bookmarkVersion(e.Object); err != nil {
			return 0, fmt.Errorf("watch from version %d: %w", held, err)
		}
	}
}
