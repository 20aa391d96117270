// Package live asks the manager replicas for live facts: who is connected, and
// whether a pause is enforced.
//
// A replica that a media server has not reached yet knows less than the others,
// so every question goes to every replica and the first positive answer counts.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// lookupInterval is how long a replica behind a DNS name may stay unknown.
	lookupInterval = 5 * time.Second
	lookupTimeout  = 3 * time.Second
	// redialCeiling bounds gRPC's backoff, whose default of 2 minutes would keep
	// a restarted manager unasked long after it is back.
	redialCeiling = 2 * time.Second
)

// Replicas are the manager replicas, all of which are asked.
type Replicas struct {
	managers []string
	resolve  func(ctx context.Context, host string) ([]string, error)
	log      *slog.Logger

	mu          sync.Mutex
	connections map[string]*grpc.ClientConn // by host:port, the host an IP address
	closed      bool
}

// NewReplicas takes host:port of each manager. A host that is a name stands for
// all addresses that DNS gives it. Nothing is dialled before Run or Refresh.
func NewReplicas(managers []string, log *slog.Logger) (*Replicas, error) {
	if len(managers) == 0 {
		return nil, errors.New("no manager to ask: give at least one host:port with --managers")
	}
	for _, manager := range managers {
		host, port, err := net.SplitHostPort(manager)
		if err != nil {
			return nil, fmt.Errorf("--managers: %q: %w; write host:port, such as 127.0.0.1:7300", manager, err)
		}
		if host == "" || port == "" {
			return nil, fmt.Errorf("--managers: %q lacks its host or port; write host:port, such as 127.0.0.1:7300", manager)
		}
	}
	return &Replicas{
		managers:    slices.Clone(managers),
		resolve:     net.DefaultResolver.LookupHost,
		log:         log,
		connections: map[string]*grpc.ClientConn{},
	}, nil
}

// Run keeps the set of replicas up to date until ctx ends, then closes the
// connections to them.
func (r *Replicas) Run(ctx context.Context) error {
	defer r.close()
	ticker := time.NewTicker(lookupInterval)
	defer ticker.Stop()
	for {
		r.Refresh(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Known returns an error while no replica has an address.
func (r *Replicas) Known() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.connections) == 0 {
		return fmt.Errorf("%w: none of %s has an address yet", ErrNoReplica, strings.Join(r.managers, ", "))
	}
	return nil
}

// Refresh looks the names up once. A name that cannot be looked up keeps the
// replicas that it had: DNS being down does not make them unreachable.
func (r *Replicas) Refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()

	addresses := map[string]bool{}
	complete := true
	for _, manager := range r.managers {
		found, err := r.lookUp(ctx, manager)
		if err != nil {
			complete = false
			if ctx.Err() == nil {
				r.log.Warn("manager not found; the replicas known so far are asked", "manager", manager, "error", err)
			}
		}
		for _, address := range found {
			addresses[address] = true
		}
	}
	r.replace(addresses, complete)
}

func (r *Replicas) lookUp(ctx context.Context, manager string) ([]string, error) {
	host, port, err := net.SplitHostPort(manager)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{manager}, nil
	}
	hosts, err := r.resolve(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("look %s up: %w", host, err)
	}
	addresses := make([]string, 0, len(hosts))
	for _, h := range hosts {
		addresses = append(addresses, net.JoinHostPort(h, port))
	}
	return addresses, nil
}

func (r *Replicas) replace(addresses map[string]bool, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	for address := range addresses {
		if r.connections[address] != nil {
			continue
		}
		connection, err := dial(address)
		if err != nil {
			r.log.Error("manager replica cannot be asked", "address", address, "error", err)
			continue
		}
		r.connections[address] = connection
	}
	if !complete {
		return
	}
	for address, connection := range r.connections {
		if !addresses[address] {
			delete(r.connections, address)
			// Close fails only when closed already.
			_ = connection.Close()
		}
	}
}

// dial makes a lazy connection to exactly one address: the passthrough resolver
// keeps gRPC from choosing among several.
func dial(address string) (*grpc.ClientConn, error) {
	delays := backoff.DefaultConfig
	delays.BaseDelay = 100 * time.Millisecond
	delays.MaxDelay = redialCeiling
	connection, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: delays, MinConnectTimeout: redialCeiling}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)))
	if err != nil {
		return nil, fmt.Errorf("make a client of the manager replica at %s: %w", address, err)
	}
	// Not left for the first question: that one has 250 ms.
	connection.Connect()
	return connection, nil
}

// maxAnswerBytes admits a channel of about a hundred thousand connections.
const maxAnswerBytes = 32 << 20

func (r *Replicas) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for address, connection := range r.connections {
		delete(r.connections, address)
		// Close fails only when closed already.
		_ = connection.Close()
	}
}

// views returns a client of each replica, by address.
func (r *Replicas) views() map[string]forwardingv1.ViewClient {
	r.mu.Lock()
	defer r.mu.Unlock()
	views := make(map[string]forwardingv1.ViewClient, len(r.connections))
	for address, connection := range r.connections {
		views[address] = forwardingv1.NewViewClient(connection)
	}
	return views
}
