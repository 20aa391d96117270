// Package objects holds the pauses of one namespace as etcd has them.
//
// It lists and watches by itself instead of through an informer: an informer's
// growing back-off stood in the path of a pause once the API server was back, and
// its habit of going on from an old version hid that etcd had been restored to an
// older state. Here a watch that ends in any other way than by its own time-out is
// followed by a new list, compared object by object with what is held.
package objects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/nagi-rtc/nagi/controllers/held"
)

// Change is one difference: Before is nil for an object that was not there, After
// for one that is not there now. One whose stored form stopped decoding counts as
// not there. Of an object that was deleted and created again under its name, both
// are told, the removal first: Before and After are always the same object (uid).
type Change struct{ Before, After *held.Pause }

// Undecodable is a stored object that this build cannot read, so that it does not
// act.
type Undecodable struct {
	Name string
	UID  types.UID
	// Err says what does not decode.
	Err error
}

// Config says what to hold. Durations left 0 have the values named.
type Config struct {
	REST      *rest.Config
	Namespace string
	Log       *slog.Logger
	// Registerer takes this store's metrics, with a label that names the namespace;
	// nil keeps them to the store.
	Registerer prometheus.Registerer
	// StaleAfter is after how long without an event or a bookmark a watch counts as
	// dead; 90 s. The API server sends a bookmark about every minute.
	StaleAfter time.Duration
	// WatchTime is how long a watch lasts, in whole seconds, before it is taken up
	// again from where it was; a random time from 5 to 10 minutes.
	WatchTime time.Duration
	// Changed gets every difference, in order, from one goroutine; all differences
	// of a list come as one call. Version is the resource version up to which the
	// state is complete after them; after a restored etcd it goes backwards. A call
	// without changes tells a bookmark, or that Stale has changed. Get already
	// answers as after the changes. It must not block long, and must not call Confirm.
	Changed func(changes []Change, version uint64)

	few int // Tests make it small.
}

// Store holds the pauses of one namespace. Its methods may be called at any time
// from any goroutine.
type Store struct {
	config     Config
	connection *connection
	metrics    *metrics
	began      time.Time
	ran        atomic.Bool

	// heard is when the watch last gave a sign of life, since began, and handling
	// whether something that the watch has received is not handed over yet.
	heard    atomic.Int64
	handling atomic.Bool

	mu      sync.RWMutex
	held    state
	version uint64
	synced  bool
	// watching: a watch lives that began at the version of the list before it.
	watching   bool
	generation uint64 // Counts the changes of watching.
	staleSince time.Time
	problem    error
	// moved is closed when any of the above changes and somebody waits for it.
	moved   chan struct{}
	waiting bool
	ended   bool

	reads reads
}

// New prepares a store; Run runs it. It asks the API server nothing: one that is
// absent, or that has no CRD yet, is waited for once the store runs.
func New(config Config) (*Store, error) {
	if config.Namespace == "" {
		return nil, errors.New("no namespace to watch: name one")
	}
	if config.StaleAfter == 0 {
		config.StaleAfter = 90 * time.Second
	}
	if config.few == 0 {
		config.few = few
	}
	if config.Changed == nil {
		config.Changed = func([]Change, uint64) {}
	}
	connection, err := newConnection(config.REST, config.Namespace)
	if err != nil {
		return nil, fmt.Errorf("prepare the watch on namespace %q: %w", config.Namespace, err)
	}
	s := &Store{
		config:     config,
		connection: connection,
		began:      time.Now(),
		held:       newState(),
		staleSince: time.Now(),
		moved:      make(chan struct{}),
		problem:    errors.New("the initial list is outstanding"),
	}
	s.reads.wanted = make(chan struct{}, 1)
	s.metrics = newMetrics(config, s)

	return s, nil
}

// Synced tells that the initial list has been handed to Changed.
func (s *Store) Synced() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()

	return s.synced
}

// Stale tells that etcd may have gone on without this store: no watch lives that
// followed a list, or it has shown no sign of life for StaleAfter. Changed is
// called when this changes, but for the silence, which only time brings about.
func (s *Store) Stale() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()

	return !s.following()
}

// following is called with the lock held.
func (s *Store) following() bool { return s.watching && s.silence() < s.config.StaleAfter }

// Ready returns nil while the store follows etcd, and otherwise what is wrong and
// how to mend it. Undecodable objects do not make it unready.
func (s *Store) Ready() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case !s.synced:
		return fmt.Errorf("namespace %q: the pauses have not been listed yet: %w", s.config.Namespace, s.problem)
	case !s.watching:
		return fmt.Errorf("namespace %q: the pauses are as they were %s ago: %w", s.config.Namespace,
			time.Since(s.staleSince).Round(time.Second), s.problem)
	case s.silence() >= s.config.StaleAfter:
		return fmt.Errorf("namespace %q: the watch has been silent for %s; is the API server reachable?",
			s.config.Namespace, s.silence().Round(time.Second))
	}

	return nil
}

// Version is the resource version of the newest event, bookmark or list that has
// been handed to Changed. Confirm may have shown the state to be complete beyond it.
func (s *Store) Version() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()

	return s.version
}

// Get returns the object of that name, nil if there is none or it does not decode.
// It is shared and must not be changed. While Changed runs it may answer as before
// or after those changes to others, as after them to Changed itself.
func (s *Store) Get(name string) *held.Pause {
	s.mu.RLock()
	defer s.mu.RUnlock()

	return s.held.objects[name].pause
}

// Undecodable names the objects that do not decode, by name.
func (s *Store) Undecodable() []Undecodable {
	s.mu.RLock()
	defer s.mu.RUnlock()
	result := make([]Undecodable, 0, len(s.held.undecodable))
	for _, u := range s.held.undecodable {
		result = append(result, u.Undecodable)
	}
	slices.SortFunc(result, func(a, b Undecodable) int { return strings.Compare(a.Name, b.Name) })

	return result
}

// Run lists and watches until ctx ends; it returns nil then. It may be called once.
func (s *Store) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("a store runs once: make a new one")
	}
	defer s.connection.close()
	readers := make(chan struct{})
	go func() {
		defer close(readers)
		s.serveReads(ctx)
	}()
	s.follow(ctx)
	<-readers
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watching, s.ended, s.problem = false, true, errors.New("the store has ended")
	s.wake()

	return nil
}

func (s *Store) silence() time.Duration {
	return time.Since(s.began) - time.Duration(s.heard.Load())
}

func (s *Store) hear() { s.heard.Store(int64(time.Since(s.began))) }

// handOver tells Changed, and then those who wait that it has been told.
func (s *Store) handOver(changes []Change, version uint64) {
	s.config.Changed(changes, version)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = version
	s.wake()
}

// wake is called with the lock held after a change of what Confirm waits for.
func (s *Store) wake() {
	if s.waiting {
		close(s.moved)
		s.moved, s.waiting = make(chan struct{}), false
	}
}
