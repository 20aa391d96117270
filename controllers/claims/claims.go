// Package claims knows which media server owns each channel. A claim is a Lease in the
// managers' own namespace: creating it decides between two who claim at once, so every
// replica gives the same answer. Every replica watches all of them, and goes by what it
// remembers where the API server is away; who may take over whose claim is decided here
// too.
package claims

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

var (
	// ErrUnanswerable is wrapped where the API server did not say.
	ErrUnanswerable = errors.New("the API server does not say who owns the channel")
	// ErrTooMany is wrapped where a bound on claims is reached.
	ErrTooMany = errors.New("too many claims")
)

const (
	// requestTimeout bounds one request to the API server.
	requestTimeout = 3 * time.Second
	// maxRequests bounds the requests under way for one namespace, so that none of them
	// is in another's way.
	maxRequests = 64
	// maxOfHolder and maxOfNamespace bound the claims of one media server and of a
	// namespace: as many as a manager takes reports of channels.
	maxOfHolder, maxOfNamespace = 20_000, 200_000
)

// Holder is a media server that may own channels.
type Holder struct {
	// Name is the media server's, unique in its namespace.
	Name string
	// PodUID tells one pod from another of the same name; empty where no tokens are
	// reviewed, so that there need be no pods.
	PodUID string
}

// identity is the holder as a Lease has it. No uid contains a slash.
func (h Holder) identity() string { return h.Name + "/" + h.PodUID }

// holderOf reads an identity; nobody's is zero.
func holderOf(identity string) Holder {
	end := strings.LastIndexByte(identity, '/')
	if end <= 0 {
		return Holder{}
	}

	return Holder{identity[:end], identity[end+1:]}
}

// Opening is one life of a channel at a media server, until its claim is released.
type Opening struct {
	ChannelID string
	// Number is greater than those of all openings before it at the same holder.
	Number uint64
}

// Change is a channel whose owner is another than before.
type Change struct {
	Namespace, ChannelID string
	// Owner is zero where nobody owns it any more.
	Owner Holder
}

// Config says what to claim, and where. Durations left 0 have the values of the design.
type Config struct {
	REST *rest.Config
	// Namespace is the managers' own, where the Leases lie.
	Namespace string
	// Namespaces are the tenants.
	Namespaces []string
	Log        *slog.Logger
	Registerer prometheus.Registerer

	// Pods tells that media servers are pods, which the API server is asked about: so it
	// is where tokens are reviewed.
	Pods bool
	// TakeoverAfter is after how long of silence a claim may pass on; 30 s.
	TakeoverAfter time.Duration
	// CollectEvery is how often what is left over is looked for; 5 s.
	CollectEvery time.Duration
	// UnusedFor is for how long a claim is kept that its owner does not use; 60 s.
	UnusedFor time.Duration

	// Changed is told of every change in a served namespace, in order, and of all claims
	// there are at first. Known is told of each whether what Changed was told is all there is,
	// as far as the API server is heard. Neither may call back; a namespace of which they take
	// long keeps no other waiting.
	Changed func(change Change)
	Known   func(namespace string, known bool)
}

// Claims are those of all namespaces.
type Claims struct {
	config  Config
	log     *slog.Logger
	leases  coordinationclient.LeaseInterface
	pods    coreclient.PodsGetter
	metrics *metrics
	rooms   map[string]chan struct{} // by namespace: see maxRequests
	tellers map[string]*teller       // by namespace
	looks   singleflight.Group
	podsMu  sync.Mutex
	seen    map[podKey]podSeen

	mu      sync.Mutex
	held    map[string]*claim             // by the Lease's name
	counts  map[string]int                // by namespace
	holders map[holderKey]map[string]bool // the Leases of each, by name
	// dropped are Leases that were deleted lately, by uid, and swept when that was last
	// gone through.
	dropped map[string]time.Time
	swept   time.Time
	known   bool
	problem error
}

type holderKey struct {
	namespace string
	Holder
}

// New prepares claims; Run follows them.
func New(config Config) (*Claims, error) {
	setDefault(&config.TakeoverAfter, 30*time.Second)
	setDefault(&config.CollectEvery, 5*time.Second)
	setDefault(&config.UnusedFor, time.Minute)
	if config.Changed == nil {
		config.Changed = func(Change) {}
	}
	if config.Known == nil {
		config.Known = func(string, bool) {}
	}
	client := rest.CopyConfig(config.REST)
	client.QPS = -1 // Rooms bound what is under way.
	leases, err := coordinationclient.NewForConfig(client)
	if err != nil {
		return nil, fmt.Errorf("make a client for Leases: %w", err)
	}
	pods, err := coreclient.NewForConfig(client)
	if err != nil {
		return nil, fmt.Errorf("make a client for pods: %w", err)
	}
	c := &Claims{
		config: config, log: config.Log, leases: leases.Leases(config.Namespace), pods: pods,
		rooms: map[string]chan struct{}{}, tellers: map[string]*teller{}, seen: map[podKey]podSeen{},
		held: map[string]*claim{}, counts: map[string]int{}, holders: map[holderKey]map[string]bool{},
		dropped: map[string]time.Time{}, problem: errors.New("they have not been listed yet"),
	}
	for _, namespace := range config.Namespaces {
		c.rooms[namespace] = make(chan struct{}, maxRequests)
		c.tellers[namespace] = &teller{wake: make(chan struct{}, 1)}
	}
	c.metrics = newMetrics(config.Registerer, c.count)

	return c, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Followed tells why the claims that are known here may not be all there are; nil when
// they are.
func (c *Claims) Followed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known {
		return nil
	}

	return fmt.Errorf("the claims of channels in namespace %s are not followed: %w", c.config.Namespace, c.problem)
}

func (c *Claims) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()

	return len(c.held)
}

// enter waits for room for a request of the namespace; leave gives it back.
func (c *Claims) enter(ctx context.Context, namespace string) (leave func(), err error) {
	room := c.rooms[namespace]
	if room == nil {
		return func() {}, nil // What is left over of a namespace that is not served any more.
	}
	select {
	case room <- struct{}{}:
		return func() { <-room }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %d requests of namespace %q are under way", ErrUnanswerable, maxRequests, namespace)
	}
}
