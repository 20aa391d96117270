// Package lifecycle is the elected part of the controllers: status, expiry and
// collection. No pause waits for it: media servers get their tables, and View
// its answers, whether or not anybody is in office.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// LeaseName is the name of the Lease that the managers campaign for.
const LeaseName = "nagi-manager"

// workers bounds the writes in flight.
const workers = 8

// readyPoll is how often readiness is looked at before the first work.
const readyPoll = 50 * time.Millisecond

// errStale: the object has changed since it was read; computed again at once.
var errStale = errors.New("the object has changed meanwhile")

// Config says what to write. Durations left 0 have the values of the design.
type Config struct {
	REST           *rest.Config
	Knowledge      Knowledge
	LeaseNamespace string
	Log            *slog.Logger
	Registerer     prometheus.Registerer

	// MediaServerLost is after how long out of touch a media server's connections
	// count as gone; 10 min.
	MediaServerLost time.Duration
	// LeaseDuration, RenewDeadline and RetryPeriod are client-go's; 15, 10 and 2 s.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

// Lifecycle campaigns for office and writes while in it.
type Lifecycle struct {
	config  Config
	client  client.Client
	lock    resourcelock.Interface
	metrics *metrics
}

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=default,resources=leases,verbs=get;create;update

// New prepares a lifecycle; Run runs it.
func New(config Config) (*Lifecycle, error) {
	setDefault(&config.MediaServerLost, 10*time.Minute)
	setDefault(&config.LeaseDuration, 15*time.Second)
	setDefault(&config.RenewDeadline, 10*time.Second)
	setDefault(&config.RetryPeriod, 2*time.Second)
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the API types: %w", err)
	}
	// The client's own limit of 5 requests/s is for scripts; the API server's
	// fairness is what limits a controller.
	unlimited := rest.CopyConfig(config.REST)
	unlimited.QPS = -1
	writer, err := client.New(unlimited, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("prepare the writer of status: %w; is the API server reachable?", err)
	}
	lock, err := newLock(config)
	if err != nil {
		return nil, err
	}

	return &Lifecycle{config: config, client: writer, lock: lock, metrics: newMetrics(config.Registerer)}, nil
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
	clients, err := kubernetes.NewForConfig(bounded)
	if err != nil {
		return nil, fmt.Errorf("prepare the election: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this candidate: %w", err)
	}

	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: config.LeaseNamespace, Name: LeaseName},
		Client:     clients.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}, nil
}

// Run campaigns until ctx ends, again after each term: losing the lease ends
// nothing but the writing. It returns when the last term's work has ended.
func (l *Lifecycle) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := l.campaign(ctx); err != nil {
			return err
		}
	}

	return nil
}

func (l *Lifecycle) campaign(ctx context.Context) error {
	// The elector starts the term in a goroutine of its own and does not wait for
	// it, nor tell whether it has begun when ctx ends: elections are held under a
	// wait of ours.
	won, ended := make(chan context.Context, 1), make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: l.lock, Name: LeaseName, ReleaseOnCancel: true,
		LeaseDuration: l.config.LeaseDuration, RenewDeadline: l.config.RenewDeadline, RetryPeriod: l.config.RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { won <- ctx },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("prepare the election: %w", err)
	}
	go func() {
		defer close(ended)
		elector.Run(ctx)
	}()
	select {
	case term := <-won:
		l.term(term) //nolint:contextcheck // It is derived from ctx, by the elector.
	case <-ended:
	}
	<-ended

	return nil
}

// term writes until ctx ends.
func (l *Lifecycle) term(ctx context.Context) {
	l.metrics.inOffice.Set(1)
	defer l.metrics.inOffice.Set(0)
	l.config.Log.Info("in office: writing status")
	if err := l.work(ctx); err != nil {
		l.config.Log.Error("the term's work failed; the next term tries again", "err", err)
	}
	l.config.Log.Info("out of office")
}

// ready waits until media servers are let in: the time in office counts from
// then, since before it nobody's absence means anything.
func (l *Lifecycle) ready(ctx context.Context) bool {
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for l.config.Knowledge.Ready() != nil {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}

	return true
}

func (l *Lifecycle) work(ctx context.Context) error {
	if !l.ready(ctx) {
		return nil
	}
	r := &reconciler{
		knowledge: l.config.Knowledge, client: l.client, log: l.config.Log, metrics: l.metrics,
		inOffice: time.Now(), mediaServerLost: l.config.MediaServerLost,
	}
	anyName := true
	c, err := controller.NewTypedUnmanaged("rtpstreampause", controller.Options{
		Reconciler: reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
			result, err := r.Reconcile(ctx, request)
			if errors.Is(err, errStale) {
				return reconcile.Result{RequeueAfter: conflictRetry}, nil
			}

			return result, err
		}),
		MaxConcurrentReconciles: workers,
		SkipNameValidation:      &anyName,
		Logger:                  logr.FromSlogHandler(l.config.Log.Handler()),
	})
	if err != nil {
		return fmt.Errorf("prepare the controller: %w", err)
	}
	stop := func() {}
	defer func() { stop() }()
	err = c.Watch(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		// The queue holds each name once, however much happens to it.
		stop = l.config.Knowledge.Watch(func(name types.NamespacedName) { queue.Add(reconcile.Request{NamespacedName: name}) })

		return nil
	}))
	if err != nil {
		return fmt.Errorf("listen to changes: %w", err)
	}
	if err := c.Start(ctx); err != nil {
		return fmt.Errorf("run the controller: %w", err)
	}

	return nil
}
