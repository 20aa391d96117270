// Package serve speaks gRPC for what a manager knows: it streams tables to media
// servers and takes their reports and acknowledgements, says where channels are, answers
// View, and passes on what Control is told. Every replica serves, elected or not.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/claims"
	"github.com/nagi-rtc/nagi/controllers/identity"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
	"github.com/nagi-rtc/nagi/internal/bounds"
)

const (
	// maxMessageBytes is what is read: a little more than anybody may send, so that
	// who counts in another way is not cut off.
	maxMessageBytes = forwardingv1.MaxMessageBytes + forwardingv1.MaxMessageBytes/8
	// connectionBuffer is what one connection may read, or write, in one call.
	connectionBuffer = 8 << 10
	// connectionTimeout bounds the handshakes of a connection, and maxHeaderBytes what a
	// call says before its first message, which is mostly a token.
	connectionTimeout = 10 * time.Second
	maxHeaderBytes    = 32 << 10
	// maxCalls bounds the calls at a time on one connection where callers are reviewed: a
	// shim makes one for each request that it answers, a media server one in all.
	maxCalls = 1000
	// keepaliveTime is after how long without a word a peer is sent a ping.
	keepaliveTime = 10 * time.Second
	// KeepaliveTimeout is for how long a peer may answer no ping, or acknowledge nothing
	// that was sent, before it is dead.
	KeepaliveTimeout = 5 * time.Second
)

// Config says what to serve. Durations left 0 have the values of the design.
type Config struct {
	Knowledge  *knowledge.Knowledge
	Log        *slog.Logger
	Registerer prometheus.Registerer

	// Claims say which media server owns a channel; nil: Placement is not served.
	Claims *claims.Claims

	// Reviewer knows callers by their tokens; nil: whoever calls is believed, and may
	// everything, as on loopback.
	Reviewer Reviewer
	// Credentials are the listener's; nil: plaintext.
	Credentials credentials.TransportCredentials

	// VersionInterval is how often the replica states its version; 5 s.
	VersionInterval time.Duration
	// AnswerTimeout bounds how long a question to media servers, and the
	// confirmation of a version before it, may take each; 5 s.
	AnswerTimeout time.Duration
}

// Server serves Forwarding, Placement, View and Control.
type Server struct {
	forwardingv1.UnimplementedForwardingServer
	forwardingv1.UnimplementedViewServer
	forwardingv1.UnimplementedControlServer
	forwardingv1.UnimplementedPlacementServer

	config   Config
	metrics  *metrics
	streams  streams
	arrivals arrivals
	// strangers are the calls whose caller is not known yet.
	strangers  *bounds.Crowd
	reaches    reaches
	ending     chan struct{}
	goroutines sync.WaitGroup
}

// New prepares a server; Run runs it. The knowledge is run by its owner.
func New(config Config) (*Server, error) {
	if config.Knowledge == nil {
		return nil, errors.New("nothing is known: give the knowledge to serve")
	}
	setDefault(&config.VersionInterval, 5*time.Second)
	setDefault(&config.AnswerTimeout, 5*time.Second)

	return &Server{
		config: config, metrics: newMetrics(config.Registerer), ending: make(chan struct{}),
		streams: streams{of: map[*knowledge.Session]*stream{}}, arrivals: newArrivals(config.Knowledge.Namespaces()),
		strangers: bounds.NewCrowd(maxStrangers, maxStrangersPerAddress),
	}, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Run serves gRPC on the listener until ctx ends, and returns when all streams
// have ended. It may be called once.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	transport := s.config.Credentials
	if transport == nil {
		transport = insecure.NewCredentials()
	}
	calls := uint32(math.MaxUint32)
	if s.config.Reviewer != nil {
		calls = maxCalls
	}
	server := grpc.NewServer(
		grpc.Creds(transport), grpc.MaxConcurrentStreams(calls), grpc.InTapHandle(s.tap),
		// Whoever does not come to the point is a stranger.
		grpc.ConnectionTimeout(connectionTimeout), grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.WaitForHandlers(true),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxSendMsgSize(maxMessageBytes),
		// A thousand media servers that mostly say nothing: 64 KiB of buffers for each
		// would be a quarter of what a manager may use.
		grpc.ReadBufferSize(connectionBuffer), grpc.WriteBufferSize(connectionBuffer),
		grpc.StaticStreamWindowSize(managers.Window), grpc.StaticConnWindowSize(managers.Window),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: KeepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	forwardingv1.RegisterForwardingServer(server, s)
	forwardingv1.RegisterViewServer(server, s)
	forwardingv1.RegisterControlServer(server, s)
	if s.config.Claims != nil {
		forwardingv1.RegisterPlacementServer(server, s)
	}

	group, ctx := errgroup.WithContext(ctx)
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

// Ready tells why this replica cannot be relied on: nil when it can.
func (s *Server) Ready() error { return s.config.Knowledge.Ready() }

// tenantOf fails with INVALID_ARGUMENT for a namespace that is not watched, and
// with UNAVAILABLE until its initial list has been processed.
func (s *Server) tenantOf(namespace string) (*knowledge.Tenant, error) {
	t := s.config.Knowledge.Tenant(namespace)
	if t == nil && s.config.Reviewer != nil {
		// Whoever may list pauses of a namespace need not know who else is a tenant.
		return nil, invalid("namespace %q is not watched here: add it to the manager's --namespaces", namespace)
	}
	if t == nil {
		return nil, invalid("namespace %q is not watched here: name one of %s, or add it to the manager's --namespaces",
			namespace, strings.Join(s.config.Knowledge.Namespaces(), ", "))
	}
	if !t.Synced() {
		return nil, status.Errorf(codes.Unavailable,
			"the pauses of namespace %q are not all known yet: ask again, or ask another replica", namespace)
	}

	return t, nil
}

func (s *Server) endingError() error {
	return status.Error(codes.Unavailable, "this replica is ending: ask another")
}

// statusOf gives what knowledge says its gRPC code. What has one keeps it.
func statusOf(err error) error {
	if _, has := status.FromError(err); has {
		return err
	}
	switch {
	case errors.Is(err, identity.ErrUnauthenticated):
		// What the API server says of a token is for the log alone: it may tell of the cluster.
		return status.Errorf(codes.Unauthenticated, "%s: show a ServiceAccount token of this cluster that has not "+
			"expired, for the audience %s; the manager's log tells what is wrong with this one",
			identity.ErrUnauthenticated, forwardingv1.Audience)
	case errors.Is(err, identity.ErrDenied):
		return status.Error(codes.PermissionDenied, err.Error())
	case errors.Is(err, identity.ErrUnanswerable):
		// What came of the question is for the log alone.
		return status.Error(codes.Unavailable, identity.ErrUnanswerable.Error()+": ask again, or ask another replica")
	case errors.Is(err, claims.ErrUnanswerable):
		return status.Error(codes.Unavailable, claims.ErrUnanswerable.Error()+": ask again, or ask another replica")
	case errors.Is(err, claims.ErrTooMany), errors.Is(err, knowledge.ErrNoRoom):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, knowledge.ErrMayNotOwn):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, knowledge.ErrInvalid):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, knowledge.ErrTooMany):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, knowledge.ErrDeleted):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, knowledge.ErrCannotAct):
		return status.Error(codes.FailedPrecondition, err.Error())
	default:
		return status.Error(codes.Unavailable, err.Error())
	}
}
