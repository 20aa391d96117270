// Package knowledge is what a manager knows: which pauses each channel has, what
// media servers said of who is there and of what they enforce, and where each
// pause stands by that. Every replica has its own; it speaks to nobody.
package knowledge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

const (
	// OfficeBeforeArmed is how long the asker must have listened before the
	// absence of a media server that hosts the channel is knowledge and not
	// ignorance.
	OfficeBeforeArmed = 5 * time.Second
	// LossGrace is how old a loss of a media server is before watchers are told of
	// the pauses that it concerns: one that comes back sooner changes nothing that
	// anybody wrote down.
	LossGrace = 5 * time.Second
	// remembered is how long a departure outlives --media-server-lost, for a newly
	// elected writer to find it.
	remembered = 10 * time.Minute
)

// Config says what to know. Durations left 0 have the values of the design.
type Config struct {
	REST *rest.Config
	// Namespaces are the tenants; each has its own watch.
	Namespaces []string
	Log        *slog.Logger
	Registerer prometheus.Registerer

	// MediaServerLost is after how long out of touch a media server's connections
	// count as gone; 10 min.
	MediaServerLost time.Duration
	// StaleAfter is after how long without event or bookmark the objects are stale;
	// 90 s.
	StaleAfter time.Duration
	// Limits are the bounds on what media servers may say.
	Limits Limits

	// Open makes the store of a namespace; nil: objects.New. changed is as
	// objects.Config.Changed.
	Open func(namespace string, changed func(changes []Change, version uint64)) (Store, error)
}

// Knowledge is the knowledge of all namespaces that are watched.
type Knowledge struct {
	config  Config
	tenants map[string]*Tenant
	metrics *metrics
}

// New prepares the knowledge; Run fills it.
func New(config Config) (*Knowledge, error) {
	setDefault(&config.MediaServerLost, 10*time.Minute)
	setDefault(&config.StaleAfter, 90*time.Second)
	config.Limits.setDefaults()
	if config.Open == nil {
		config.Open = config.open
	}
	k := &Knowledge{config: config, tenants: map[string]*Tenant{}}
	k.metrics = newMetrics(config.Registerer, k)
	for _, namespace := range config.Namespaces {
		if namespace == "" || k.tenants[namespace] != nil {
			return nil, fmt.Errorf("namespace %q is empty or named twice: name each watched namespace once", namespace)
		}
		t := newTenant(namespace, config, k.metrics)
		var err error
		if t.store, err = config.Open(namespace, t.apply); err != nil {
			return nil, fmt.Errorf("watch namespace %q: %w", namespace, err)
		}
		k.tenants[namespace] = t
	}
	if len(k.tenants) == 0 {
		return nil, errors.New("no namespace to watch: name at least one")
	}

	return k, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Run watches the namespaces until ctx ends. It may be called once.
func (k *Knowledge) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for namespace, t := range k.tenants {
		group.Go(func() error {
			if err := t.store.Run(ctx); err != nil {
				return fmt.Errorf("watch namespace %q: %w", namespace, err)
			}

			return nil
		})
		group.Go(func() error {
			t.run(ctx)

			return nil
		})
	}

	return group.Wait() // Wrapped above.
}

// Ready names every namespace whose pauses are not known, or not known to be all;
// nil when there is none.
func (k *Knowledge) Ready() error {
	var reasons []error
	for _, namespace := range k.Namespaces() {
		if err := k.tenants[namespace].store.Ready(); err != nil {
			reasons = append(reasons, err)
		}
	}

	return errors.Join(reasons...)
}

// Known is nil while the pauses of some namespace are known to be all: one that is
// not, whoever is to blame, keeps nobody from working for the others.
func (k *Knowledge) Known() error {
	for _, t := range k.tenants {
		if t.store.Ready() == nil {
			return nil
		}
	}

	return k.Ready()
}

// Undecodable names the stored objects that do not decode, which act on nobody:
// namespace/name, and what does not decode.
func (k *Knowledge) Undecodable() []string {
	var names []string
	for _, namespace := range k.Namespaces() {
		for _, object := range k.tenants[namespace].store.Undecodable() {
			names = append(names, fmt.Sprintf("%s/%s: %v", namespace, object.Name, object.Err))
		}
	}

	return names
}

// Namespaces are those that are watched, sorted.
func (k *Knowledge) Namespaces() []string {
	names := make([]string, 0, len(k.tenants))
	for namespace := range k.tenants {
		names = append(names, namespace)
	}
	slices.SortFunc(names, strings.Compare)

	return names
}

// Tenant is the knowledge of one namespace; nil for one that is not watched.
func (k *Knowledge) Tenant(namespace string) *Tenant { return k.tenants[namespace] }

// Watch calls enqueue for every pause there is, low, and then for each whose
// verdict or departure may have changed. Low are the many that one cause
// concerns, such as a media server that is lost or has reported everything: they
// must not hold up the others. enqueue must not block, nor call back but for Pause.
func (k *Knowledge) Watch(enqueue func(name types.NamespacedName, low bool)) (stop func()) {
	stops := make([]func(), 0, len(k.tenants))
	for namespace, t := range k.tenants {
		stops = append(stops, t.watch(func(name string, low bool) {
			enqueue(types.NamespacedName{Namespace: namespace, Name: name}, low)
		}))
	}

	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// Pause returns the object of that name, nil when there is none. It must not be
// changed.
func (k *Knowledge) Pause(name types.NamespacedName) *held.Pause {
	if t := k.tenants[name.Namespace]; t != nil {
		return t.Pause(name.Name)
	}

	return nil
}

// Judge tells where the pause stands at the time now. inOffice is since when the
// asker has listened, or, where that is later, the namespace's media servers are
// heard.
func (k *Knowledge) Judge(pause *held.Pause, inOffice, now time.Time) Verdict {
	if t := k.tenants[pause.Namespace]; t != nil {
		return t.Judge(pause, t.listening(inOffice), now)
	}

	return Verdict{Reason: v1alpha1.ReasonStarting}
}

// Departure tells when the last of the connections that the first fully departed
// side of the pause names by connectionIDs left; zero while no side is fully
// departed. again is when to ask once more; zero: when Watch says so.
func (k *Knowledge) Departure(pause *held.Pause, inOffice, now time.Time) (left, again time.Time) {
	if t := k.tenants[pause.Namespace]; t != nil {
		return t.Departure(pause, t.listening(inOffice), now)
	}

	return time.Time{}, time.Time{}
}

// Streaming counts the media servers of the namespace that have a stream.
func (k *Knowledge) Streaming(namespace string) int {
	if t := k.tenants[namespace]; t != nil {
		return t.Streaming()
	}

	return 0
}
