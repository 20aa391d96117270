package objects

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// Tries begin at least retryEvery apart and up to retryJitter more. The interval
	// never grows: after an outage the first try that can succeed comes at once.
	retryEvery, retryJitter = 200 * time.Millisecond, 50 * time.Millisecond
	// cachePatience is how long a list of many objects waits for the API server's cache.
	cachePatience = 10 * time.Second
	// sayAgain is after how long the same trouble is logged again.
	sayAgain = 30 * time.Second
)

// follow lists, and watches until a watch ends early; then it lists anew.
func (s *Store) follow(ctx context.Context) {
	var trouble trouble
	cause := "start"
	for ctx.Err() == nil {
		began := time.Now()
		err := s.relist(ctx, cause)
		took := time.Duration(0)
		if err == nil {
			took = time.Since(began)
			var end watchEnd
			for end = s.watch(ctx); end.cause == endTimedOut; end = s.watch(ctx) {
				s.metrics.ends.WithLabelValues(end.cause).Inc()
			}
			cause, err = end.cause, end.err
			if ctx.Err() != nil {
				return
			}
			s.metrics.ends.WithLabelValues(end.cause).Inc()
		} else {
			s.metrics.failed.Inc()
		}
		if ctx.Err() != nil {
			return
		}
		err = advise(err)
		s.setWatching(err)
		trouble.tell(s, err)
		// A connection that failed may be half-open: nothing is sent on it again.
		s.connection.close()
		// Lists of very many objects that no watch follows take half of the time at most.
		pause(ctx, max(time.Until(began.Add(retryEvery+rand.N(retryJitter))), time.Until(began.Add(2*took))))
	}
}

// relist compares the collection with what is held and hands over the differences.
func (s *Store) relist(ctx context.Context, cause string) error {
	began := time.Now()
	if s.held.count() > s.config.few {
		for time.Since(began) < cachePatience && !s.connection.cached(ctx) {
			pause(ctx, retryEvery)
		}
	}
	// Only this goroutine changes what is held.
	all, version, err := s.connection.list(ctx, s.held)
	if err != nil {
		return fmt.Errorf("list the pauses: %w", err)
	}
	changes := differences(s.held, all)
	s.mu.Lock()
	before := s.held
	s.held = all
	s.problem = errors.New("the watch that follows the list has not begun yet")
	backwards := s.synced && version < s.version
	s.mu.Unlock()
	for _, u := range newUndecodable(before, all) {
		s.logUndecodable(u)
	}
	if backwards {
		s.config.Log.Warn("the API server has gone back to an older state, as after a restored etcd; the pauses follow it",
			"namespace", s.config.Namespace, "before", s.Version(), "now", version)
	}
	s.metrics.lists.WithLabelValues(cause).Inc()
	s.handOver(changes, version)
	s.mu.Lock()
	first := !s.synced
	s.synced = true
	s.wake()
	s.mu.Unlock()
	s.config.Log.Info("listed the pauses", "namespace", s.config.Namespace, "cause", cause, "objects", all.count(),
		"undecodable", len(all.undecodable), "differences", len(changes), "version", version, "first", first,
		"took", time.Since(began))

	return nil
}

// setWatching says that a watch lives, or why none does, and tells Changed.
func (s *Store) setWatching(problem error) {
	s.mu.Lock()
	was, version := s.watching, s.version
	s.watching, s.problem = problem == nil, problem
	if was != s.watching {
		s.generation++
	}
	if was && problem != nil {
		s.staleSince = time.Now()
	}
	synced := s.synced
	s.wake()
	s.mu.Unlock()
	if synced && was != (problem == nil) {
		s.config.Changed(nil, version)
	}
}

func (s *Store) setHandling(handling bool) {
	if s.handling.Swap(handling) && !handling {
		s.mu.Lock()
		s.wake()
		s.mu.Unlock()
	}
}

// advise adds the mend to an error of the API server.
func advise(err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w; install the CRD from config/crd", err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; bind the role nagi-manager of config/rbac in this namespace", err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w; check the credentials of this process", err)
	case apierrors.ReasonForError(err) == "":
		return fmt.Errorf("%w; is the API server reachable?", err)
	}

	return err
}

// trouble keeps one lasting trouble from filling the log five times a second.
type trouble struct {
	said string
	at   time.Time
}

func (t *trouble) tell(s *Store, err error) {
	if err == nil || err.Error() == t.said && time.Since(t.at) < sayAgain {
		return
	}
	t.said, t.at = err.Error(), time.Now()
	s.config.Log.Error("the pauses are not followed; trying again", "namespace", s.config.Namespace, "err", err)
}

func (s *Store) logUndecodable(u undecodable) {
	s.config.Log.Error("a stored pause does not decode and does not act; mend or delete it",
		"namespace", s.config.Namespace, "name", u.Name, "uid", u.UID, "version", u.version, "err", u.Err)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
