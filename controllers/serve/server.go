// Package serve streams tables to media servers, takes their reports and
// acknowledgements, and answers View. Every replica serves, elected or not.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

const (
	// maxMessageBytes bounds one message in either direction, as media servers and
	// shims do: a report of some hundred thousand connections, or a table of as
	// many pauses. What exceeds it ends the stream with RESOURCE_EXHAUSTED.
	maxMessageBytes = 32 << 20
	// A peer that answers no ping for this long is dead.
	keepaliveTime, keepaliveTimeout = 10 * time.Second, 5 * time.Second
	// departuresKept is how long a departure outlives --media-server-lost, for a
	// newly elected writer to find it.
	departuresKept = 10 * time.Minute
)

// Config says what to serve. Durations left 0 have the values of the design.
type Config struct {
	REST *rest.Config
	// Namespaces are the tenants; each has its own informer.
	Namespaces []string
	Log        *slog.Logger
	Registerer prometheus.Registerer

	// MediaServerLost is after how long out of touch a media server's connections
	// count as gone; 10 min.
	MediaServerLost time.Duration
	// VersionInterval is how often the replica states its version; 5 s.
	VersionInterval time.Duration
	// StaleAfter is after how long without event or bookmark tables are marked
	// stale; 90 s.
	StaleAfter time.Duration
}

// Server serves Forwarding and View from the informers of its namespaces.
type Server struct {
	forwardingv1.UnimplementedForwardingServer
	forwardingv1.UnimplementedViewServer

	config     Config
	tenants    map[string]*tenant
	metrics    *metrics
	ending     chan struct{}
	goroutines sync.WaitGroup
}

// New prepares a server; Run runs it.
func New(ctx context.Context, config Config) (*Server, error) {
	setDefault(&config.MediaServerLost, 10*time.Minute)
	setDefault(&config.VersionInterval, 5*time.Second)
	setDefault(&config.StaleAfter, 90*time.Second)
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the API types: %w", err)
	}
	s := &Server{config: config, tenants: map[string]*tenant{}, ending: make(chan struct{})}
	s.metrics = newMetrics(config.Registerer, s.streaming)
	for _, namespace := range config.Namespaces {
		if namespace == "" || s.tenants[namespace] != nil {
			return nil, fmt.Errorf("namespace %q is empty or named twice: name each watched namespace once", namespace)
		}
		t := newTenant(namespace, s.metrics)
		var err error
		if t.store, err = newStore(ctx, config, scheme, namespace, t.objectChanged); err != nil {
			return nil, err
		}
		s.tenants[namespace] = t
	}
	if len(s.tenants) == 0 {
		return nil, errors.New("no namespace to watch: name at least one")
	}

	return s, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Run watches the namespaces and serves gRPC on the listener until ctx ends, and
// returns when all streams have ended. It may be called once.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(
		grpc.WaitForHandlers(true),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxSendMsgSize(maxMessageBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	forwardingv1.RegisterForwardingServer(server, s)
	forwardingv1.RegisterViewServer(server, s)

	group, ctx := errgroup.WithContext(ctx)
	for _, t := range s.tenants {
		group.Go(func() error { return t.store.run(ctx) })
	}
	group.Go(func() error { s.forget(ctx); return nil })
	group.Go(func() error {
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve gRPC on %s: %w", listener.Addr(), err)
		}

		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		close(s.ending)
		server.Stop()
		s.goroutines.Wait()

		return nil
	})

	return group.Wait() // Wrapped above.
}

// forget lets lost media servers go in time.
func (s *Server) forget(ctx context.Context) {
	ticker := time.NewTicker(max(s.config.MediaServerLost/100, 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, t := range s.tenants {
				t.presence.forget(now, s.config.MediaServerLost)
			}
		}
	}
}

// tenantOf fails with INVALID_ARGUMENT for a namespace that is not watched, and
// with UNAVAILABLE until its initial list has been processed.
func (s *Server) tenantOf(namespace string) (*tenant, error) {
	t := s.tenants[namespace]
	if t == nil {
		return nil, invalid("namespace %q is not watched here: name one of %s, or add it to the manager's --namespaces", namespace, s.namespaces())
	}
	if !t.store.synced() {
		return nil, status.Errorf(codes.Unavailable, "the pauses of namespace %q are not all known yet: ask again, or ask another replica", namespace)
	}

	return t, nil
}

func (s *Server) namespaces() string {
	names := slices.Clone(s.config.Namespaces)
	slices.Sort(names)

	return strings.Join(names, ", ")
}

// Ready tells what is still missing before this replica can answer; nil: nothing.
func (s *Server) Ready() error {
	for _, namespace := range s.config.Namespaces {
		if _, err := s.tenantOf(namespace); err != nil {
			return fmt.Errorf("waiting for the pauses of namespace %q", namespace)
		}
	}

	return nil
}

func (s *Server) streaming() float64 {
	n := 0
	for _, t := range s.tenants {
		n += t.presence.streaming()
	}

	return float64(n)
}

// Watch calls enqueue for every pause there is and then for each about which
// something may have changed: the object, or what media servers say of it.
// enqueue must not block, nor call back.
func (s *Server) Watch(enqueue func(types.NamespacedName)) (stop func()) {
	var stops []func()
	for _, t := range s.tenants {
		w := &watcher{enqueue: func(name string) { enqueue(types.NamespacedName{Namespace: t.namespace, Name: name}) }}
		stops = append(stops, t.watch(w))
	}

	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// Pause returns the object of that name as the informer has it, nil when there
// is none. It must not be changed.
func (s *Server) Pause(name types.NamespacedName) *v1alpha1.RtpStreamPause {
	if t := s.tenants[name.Namespace]; t != nil {
		return t.store.byName(name.Name)
	}

	return nil
}

// MediaServers returns what the media servers of the namespace said of the
// channel and of the pause, ordered by name.
func (s *Server) MediaServers(namespace, channelID, uid string) []tables.MediaServer {
	if t := s.tenants[namespace]; t != nil {
		return t.presence.of(channelID, uid)
	}

	return nil
}

// MediaServersStreaming counts the media servers of the namespace in touch.
func (s *Server) MediaServersStreaming(namespace string) int {
	if t := s.tenants[namespace]; t != nil {
		return t.presence.streaming()
	}

	return 0
}

// Departed returns when the connection was reported gone, and whether it was.
func (s *Server) Departed(namespace, connectionID string) (time.Time, bool) {
	if t := s.tenants[namespace]; t != nil {
		return t.presence.departure(connectionID)
	}

	return time.Time{}, false
}

// Complete returns when the media server's present report was complete, zero
// when it is not, and whether the media server is known at all.
func (s *Server) Complete(namespace, mediaServer string) (at time.Time, known bool) {
	if t := s.tenants[namespace]; t != nil {
		return t.presence.completeSince(mediaServer)
	}

	return time.Time{}, false
}
