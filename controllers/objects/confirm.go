package objects

import (
	"context"
	"fmt"
	"time"
)

const (
	// readEvery is how often the collection is read again while it has another
	// number of objects than are held.
	readEvery = 20 * time.Millisecond
	// settle is what the watch is given beyond a read's answer to bring what the API
	// server sent, or was about to send, at the same time.
	settle = time.Millisecond
)

// reads are the store's reads of the collection's version and size. Whoever asks
// shares a read that begins after the question. Guarded by the store's lock.
type reads struct {
	wanted chan struct{}
	next   *read
}

type read struct {
	generation uint64
	done       chan struct{}
	// What follows is set when done is closed.
	version uint64
	count   int
	at      time.Time
	err     error
}

// Confirm returns nil once the state handed to Changed is complete up to at least
// version, a resource version of the collection, and otherwise, when ctx ends, why not.
//
// An event or a bookmark of that version or a later one proves it. But versions
// also move by writes of other things, and bookmarks come once a minute, so Confirm
// itself reads the collection: its version, and how many objects it has. When as
// many are held after everything that came before the answer has been handed over,
// the state counts as complete. That proves that no creation and no deletion
// is outstanding, unless as many of the one as of the other are. It does not prove
// that no edit is; for that there is order: the API server answers the read from
// the cache that feeds the watch, once that cache has reached the version; answer and
// events share a TCP connection; and what was received first is handed over first.
// Only between the cache and that connection could an event be overtaken, and it is
// given a moment more than the answer took.
func (s *Store) Confirm(ctx context.Context, version uint64) error {
	defer func(began time.Time) { s.metrics.confirm.Observe(time.Since(began).Seconds()) }(time.Now())
	var last, pending *read
	for {
		s.mu.Lock()
		confirmed, following, ended := s.complete(version, last), s.following(), s.ended
		if !confirmed && following && pending == nil && last.due() {
			pending = s.wantRead()
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
			timer = time.NewTimer(last.wait())
			look = timer.C
		}
		select {
		case <-moved:
		case <-look:
		case <-ctx.Done():
		case <-answered:
			last, pending = pending, nil
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
		time.Since(last.at) >= settle && !s.handling.Load() && s.held.count() == last.count
}

// due tells that the collection should be read again, or at all.
func (r *read) due() bool { return r == nil || time.Since(r.at) >= r.every() }

func (r *read) every() time.Duration {
	if r.err != nil {
		return retryEvery
	}

	return readEvery
}

// wait is how long nothing changes but by what is handed over.
func (r *read) wait() time.Duration {
	if since := time.Since(r.at); since < settle {
		return settle - since
	}

	return time.Until(r.at.Add(r.every()))
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
		return fmt.Errorf("version %d is not confirmed: the pauses are complete up to %d, and the API server has not answered in time", version, at)
	case last.err != nil:
		return fmt.Errorf("version %d is not confirmed: the pauses are complete up to %d: %w", version, at, last.err)
	case last.version < version:
		return fmt.Errorf("version %d is not confirmed: the API server is at %d; has etcd been restored?", version, last.version)
	}

	return fmt.Errorf("version %d is not confirmed: the pauses are complete up to %d, and %d are known of %d", version, at, count, last.count)
}

// wantRead is called with the lock held.
func (s *Store) wantRead() *read {
	if s.reads.next == nil {
		s.reads.next = &read{done: make(chan struct{}), generation: s.generation}
	}
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

func (s *Store) read(ctx context.Context, r *read) {
	defer func() { r.at = time.Now() }()
	answer, err := s.connection.page(ctx, 1, "")
	if err != nil {
		r.err = fmt.Errorf("read the collection: %w", advise(err))

		return
	}
	r.count = len(answer.Items) + answer.Metadata.RemainingItemCount
	r.version, r.err = parseVersion(answer.Metadata.ResourceVersion)
}
