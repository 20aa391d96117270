// Package lifecycle is the elected part of the controllers: status, events,
// expiry and collection. No pause waits for it: media servers get their tables,
// and View its answers, whether or not anybody is in office.
package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	eventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// LeaseName is the name of the Lease that the managers campaign for.
const LeaseName = "nagi-manager"

// readyPoll is how often readiness is looked at before a campaign.
const readyPoll = 50 * time.Millisecond

// Knowledge is what a replica knows of pauses and media servers;
// knowledge.Knowledge.
type Knowledge interface {
	Known() error
	Watch(enqueue func(name types.NamespacedName, low bool)) (stop func())
	Pause(name types.NamespacedName) *held.Pause
	Judge(pause *held.Pause, inOffice, now time.Time) knowledge.Verdict
	Departure(pause *held.Pause, inOffice, now time.Time) (left, again time.Time)
	Streaming(namespace string) int
}

// Config says what to write. Durations left 0 have the values of the design.
type Config struct {
	REST           *rest.Config
	Knowledge      Knowledge
	LeaseNamespace string
	Log            *slog.Logger
	Registerer     prometheus.Registerer

	// Collect deletes the claims of channels that are left over until its context ends;
	// nil: there are none.
	Collect func(ctx context.Context)

	// LeaseDuration, RenewDeadline and RetryPeriod are client-go's; 15, 10 and 2 s.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	// GiveUpAfter is for how long a leader may fail in everything that it tries
	// before it leaves the office to another; 30 s.
	GiveUpAfter time.Duration
}

// Lifecycle campaigns for office and writes while in it.
type Lifecycle struct {
	config  Config
	writer  *writer
	tenure  *tenure
	events  eventsv1.EventsV1Interface
	metrics *metrics
	gaveUp  atomic.Pointer[gaveUp]
}

// gaveUp is when the replica left the office by itself, and why.
type gaveUp struct {
	at  time.Time
	err error
}

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=default,resources=leases,verbs=get;create;update

// New prepares a lifecycle; Run runs it.
func New(config Config) (*Lifecycle, error) {
	setDefault(&config.LeaseDuration, 15*time.Second)
	setDefault(&config.RenewDeadline, 10*time.Second)
	setDefault(&config.RetryPeriod, 2*time.Second)
	setDefault(&config.GiveUpAfter, 30*time.Second)
	lock, err := newLock(config)
	if err != nil {
		return nil, err
	}
	l := &Lifecycle{
		config: config, metrics: newMetrics(config.Registerer),
		tenure: &tenure{Interface: lock, lease: config.LeaseDuration, requests: &requests{
			limit: config.LeaseDuration, namespace: config.LeaseNamespace, log: config.Log,
		}},
	}
	config.Registerer.MustRegister(unelectable(l.Unelectable))
	if l.writer, err = newWriter(config.REST, l.tenure); err != nil {
		return nil, err
	}
	if l.events, err = newEventsClient(config.REST); err != nil {
		return nil, err
	}

	return l, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func newLock(config Config) (resourcelock.Interface, error) {
	// A client of its own with a deadline: a renewal must not wait behind writes,
	// nor longer than the deadline that it is for.
	bounded := rest.CopyConfig(config.REST)
	bounded.Timeout = max(config.RenewDeadline/2, time.Second)
	bounded.QPS = -1
	leases, err := coordinationv1.NewForConfig(bounded)
	if err != nil {
		return nil, fmt.Errorf("prepare the election: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this candidate: %w", err)
	}

	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: config.LeaseNamespace, Name: LeaseName},
		Client:     leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}, nil
}

// GaveUp tells why this replica left the office by itself, until it has written
// again; nil when it has not. Tables and View do not depend on it.
func (l *Lifecycle) GaveUp() error {
	if g := l.gaveUp.Load(); g != nil {
		return fmt.Errorf("the elected part gave up at %s, so that another manager may write status: %w",
			g.at.UTC().Format(time.RFC3339), g.err)
	}

	return nil
}

// Unelectable tells why this replica cannot be elected: its requests for the lease have
// failed for as long as a lease lasts; nil when they have not. Tables and View do not
// depend on it.
func (l *Lifecycle) Unelectable() error { return l.tenure.requests.failing() }

// Run campaigns until ctx ends, again after each term: losing the lease ends
// nothing but the writing. It returns when the last term's work has ended.
func (l *Lifecycle) Run(ctx context.Context) error {
	// client-go logs to the logger of the context.
	ctx = logr.NewContext(ctx, logr.FromSlogHandler(l.config.Log.Handler()))
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: l.events})
	defer broadcaster.Shutdown()
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("begin to record events: %w", err)
	}
	story := newStory(broadcaster, l.exists, l.metrics)
	telling, hush := context.WithCancel(ctx)
	var told sync.WaitGroup
	defer told.Wait()
	defer hush()
	told.Go(func() { story.run(telling) })
	for l.ready(ctx) {
		err := l.campaign(ctx, story)
		if err == nil {
			continue
		}
		l.gaveUp.Store(&gaveUp{at: time.Now(), err: err})
		l.metrics.gaveUp.Inc()
		l.config.Log.Error("the elected part gives the office up, so that another manager may write status", "err", err)
		// Long enough for another to win, and not in step with it.
		pause(ctx, l.config.LeaseDuration+rand.N(l.config.LeaseDuration)) //nolint:gosec // Jitter is no secret.
	}

	return nil
}

func (l *Lifecycle) exists(name types.NamespacedName, uid types.UID) bool {
	object := l.config.Knowledge.Pause(name)

	return object != nil && object.UID == uid
}

// ready waits until media servers are let in: the time in office counts from
// then, since before it nobody's absence means anything. Who cannot know does not
// stand in the way of who can.
func (l *Lifecycle) ready(ctx context.Context) bool {
	for l.config.Knowledge.Known() != nil {
		if !pause(ctx, readyPoll) {
			return false
		}
	}

	return ctx.Err() == nil
}

// pause waits for d; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// campaign stands for election and, once elected, works until the lease is lost.
// The error tells why the office was given up before.
func (l *Lifecycle) campaign(ctx context.Context, story *story) error {
	// The elector starts a term in a goroutine of its own, waits for its end nowhere,
	// and releases the lease while it may go on: so the term runs here, and a release
	// waits for it.
	office, leave := context.WithCancel(ctx)
	defer leave()
	won, quiet, ended := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	l.tenure.begin(func(ctx context.Context) {
		leave()
		select {
		case <-quiet:
		case <-ctx.Done():
		}
	})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: l.tenure, Name: LeaseName, ReleaseOnCancel: true,
		LeaseDuration: l.config.LeaseDuration, RenewDeadline: l.config.RenewDeadline, RetryPeriod: l.config.RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { won <- struct{}{} },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("prepare the election: %w", err)
	}
	standing, withdraw := context.WithCancel(ctx)
	defer withdraw()
	go func() {
		defer close(ended)
		defer leave()
		elector.Run(standing)
	}()
	select {
	case <-won:
		err = l.term(office, story)
	case <-office.Done():
	case <-ended:
	}
	close(quiet)
	withdraw()
	<-ended

	return err
}
