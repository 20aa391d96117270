// Package live asks the manager replicas for live facts, who is connected and
// which streams are withheld, and hands commands on through them.
//
// A replica that a media server has not reached yet knows less than the others,
// so every question goes to every replica and the first positive answer counts.
// That something is not there is believed only of a replica that knows the
// channel, or when none of them does.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// maxIDBytes is the longest that a channel's, a connection's or a client's id can
// be. Nobody has a longer one, and managers refuse the question.
const maxIDBytes = 255

// The reasons why a question stays unanswered. The text of what wraps them is for
// the operator's log: it holds addresses.
var (
	// ErrNoReplica is returned when no manager replica answered.
	ErrNoReplica = errors.New("no manager replica answered")
	// ErrNotServed is returned when the replicas answered that they do not serve
	// the namespace.
	ErrNotServed = errors.New("no manager replica serves the namespace")
	// ErrNotCurrent is returned when no replica could answer for now: it, or a
	// media server, is behind or out of touch.
	ErrNotCurrent = errors.New("the managers or a media server are behind or out of touch")
)

// redial has a manager that is back dialled before a question gives up on it, however long
// it was away. There are few shims, so that many attempts cost little.
var redial = grpc.ConnectParams{
	Backoff: backoff.Config{
		BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 400 * time.Millisecond,
	},
	MinConnectTimeout: answerTimeout,
}

// Replicas are the manager replicas, all of which are asked, on behalf of one
// namespace.
type Replicas struct {
	namespace string
	entries   []string
	options   []grpc.DialOption
	set       *managers.Set
	log       *slog.Logger

	mu          sync.Mutex
	connections map[string]*grpc.ClientConn // by host:port, the host an IP address
}

// replica is one of them while a question is asked.
type replica struct {
	address string
	view    forwardingv1.ViewClient
	control forwardingv1.ControlClient
}

// NewReplicas takes host:port of each manager. A host that is a name stands for
// all addresses that DNS gives it. Nothing is dialled before Run.
func NewReplicas(entries []string, namespace string, known managers.Credentials, log *slog.Logger) (*Replicas, error) {
	set, err := managers.New(entries, nil, log)
	if err != nil {
		return nil, fmt.Errorf("--managers: %w", err)
	}

	return &Replicas{
		namespace:   namespace,
		entries:     slices.Clone(entries),
		options:     known.Options(),
		set:         set,
		log:         log,
		connections: map[string]*grpc.ClientConn{},
	}, nil
}

// Run keeps the set of replicas up to date until ctx ends, then closes the
// connections to them.
func (r *Replicas) Run(ctx context.Context) {
	defer r.use(nil)
	r.set.Run(ctx, r.use)
}

// use makes the replicas at these addresses the ones that are asked.
func (r *Replicas) use(addresses []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for address, connection := range r.connections {
		if !slices.Contains(addresses, address) {
			delete(r.connections, address)
			// Close fails only when closed already.
			_ = connection.Close()
		}
	}
	for _, address := range addresses {
		if r.connections[address] != nil {
			continue
		}
		connection, err := r.set.Dial(address, append([]grpc.DialOption{grpc.WithConnectParams(redial)}, r.options...)...)
		if err != nil {
			r.log.Error("manager replica cannot be asked", "address", address, "error", err)

			continue
		}
		// Not left for the first question, which has no time for it.
		connection.Connect()
		r.connections[address] = connection
	}
}

// all returns the replicas there are, and an error when there is none.
func (r *Replicas) all() ([]replica, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.connections) == 0 {
		return nil, fmt.Errorf("%w: none of %s has an address yet", ErrNoReplica, strings.Join(r.entries, ", "))
	}
	replicas := make([]replica, 0, len(r.connections))
	for address, connection := range r.connections {
		replicas = append(replicas, replica{
			address, forwardingv1.NewViewClient(connection), forwardingv1.NewControlClient(connection),
		})
	}

	return replicas, nil
}

// inReach tells whether there is a connection to any replica now.
func (r *Replicas) inReach() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, connection := range r.connections {
		if connection.GetState() == connectivity.Ready {
			return true
		}
	}

	return false
}

// cannotExist tells whether no channel, connection or client can have the id.
func cannotExist(id string) bool { return id == "" || len(id) > maxIDBytes }
