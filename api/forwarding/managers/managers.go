// Package managers finds and dials the manager replicas: every one of them is
// asked and told everything, so each address is dialled on its own.
package managers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
)

const (
	// LookupInterval is how often names are looked up again.
	LookupInterval = 5 * time.Second
	// lookupTimeout bounds one lookup.
	lookupTimeout = 4 * time.Second
)

// Set is the addresses of the manager replicas, as they are found.
type Set struct {
	entries []*entry
	lookup  func(ctx context.Context, host string) ([]string, error)
	log     *slog.Logger

	mu sync.Mutex
	// addresses are what Run found last, and of which entry, as it was given.
	addresses []string
	entryOf   map[string]string
}

// entry is one host:port of the configuration.
type entry struct {
	host, port string
	// isName tells that the host must be looked up.
	isName bool
	// addresses are those of the last lookup that succeeded; a failing resolver
	// must not cost the replicas that are known. Only Run uses it.
	addresses []string
}

// found is what one lookup of an entry's name gave.
type found struct {
	entry     *entry
	addresses []string
}

// Parse checks the managers' addresses, host:port each.
func Parse(entries []string) error {
	_, err := parse(entries)

	return err
}

func parse(texts []string) ([]*entry, error) {
	if len(texts) == 0 {
		return nil, errors.New("no managers: name at least one as host:port, such as 127.0.0.1:7300")
	}
	entries := make([]*entry, 0, len(texts))
	for _, text := range texts {
		host, port, err := net.SplitHostPort(text)
		if err != nil {
			return nil, fmt.Errorf("manager %q: %w; write host:port, such as 127.0.0.1:7300", text, err)
		}
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return nil, fmt.Errorf("manager %q: port %q is no number from 1 to 65535", text, port)
		}
		if host == "" {
			return nil, fmt.Errorf("manager %q has no host; write host:port, such as 127.0.0.1:7300", text)
		}
		e := &entry{host: host, port: port}
		if _, err := netip.ParseAddr(host); err == nil {
			e.addresses = []string{text}
		} else {
			e.isName = true
		}
		entries = append(entries, e)
	}

	return entries, nil
}

// New takes host:port of each manager. A host that is a name stands for all
// addresses that lookup gives it; nil: the system's resolver. Nothing is looked
// up before Run.
func New(
	entries []string, lookup func(ctx context.Context, host string) ([]string, error), log *slog.Logger,
) (*Set, error) {
	parsed, err := parse(entries)
	if err != nil {
		return nil, err
	}
	if lookup == nil {
		lookup = net.DefaultResolver.LookupHost
	}

	return &Set{entries: parsed, lookup: lookup, log: log}, nil
}

// Addresses are host:port of each replica known so far, the host an IP address,
// ordered.
func (s *Set) Addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.addresses
}

// Dial is the function Dial to one of the addresses. Whoever answers there must have
// a certificate for the host that the configuration names, where the options ask for
// certificates: its address may be a pod's, which nobody knew before.
func (s *Set) Dial(address string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	s.mu.Lock()
	entry := s.entryOf[address]
	s.mu.Unlock()
	if entry != "" {
		options = append([]grpc.DialOption{grpc.WithAuthority(entry)}, options...)
	}

	return Dial(address, options...)
}

// Run looks names up until ctx ends, and again every 5 s. It calls changed from
// one goroutine, its own, whenever the addresses are other than before: with those
// that need no lookup at once, with each name's as soon as they are found. A name
// that cannot be looked up keeps the addresses that it had.
func (s *Set) Run(ctx context.Context, changed func(addresses []string)) {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan found)
	var lookups sync.WaitGroup
	defer lookups.Wait()
	defer cancel()
	s.note(changed)
	for _, e := range s.entries {
		if e.isName {
			lookups.Go(func() { s.follow(ctx, e, results) })
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case result := <-results:
			result.entry.addresses = result.addresses
			s.note(changed)
		}
	}
}

// note calls changed if the addresses are other than before.
func (s *Set) note(changed func(addresses []string)) {
	var addresses []string
	entryOf := make(map[string]string)
	for _, e := range s.entries {
		addresses = append(addresses, e.addresses...)
		for _, address := range e.addresses {
			entryOf[address] = net.JoinHostPort(e.host, e.port)
		}
	}
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
	s.mu.Lock()
	same := slices.Equal(addresses, s.addresses)
	s.addresses, s.entryOf = addresses, entryOf
	s.mu.Unlock()
	if !same {
		changed(slices.Clone(addresses))
	}
}

// follow looks one name up until ctx ends: names do not wait for each other.
func (s *Set) follow(ctx context.Context, e *entry, results chan<- found) {
	ticker := time.NewTicker(LookupInterval)
	defer ticker.Stop()
	failing := false
	for {
		addresses, err := s.lookUp(ctx, e)
		switch {
		case err == nil:
			select {
			case results <- found{e, addresses}:
			case <-ctx.Done():
				return
			}
		case ctx.Err() == nil && !failing:
			s.log.Warn("cannot look up a manager's name; the addresses known stay", "name", e.host, "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Set) lookUp(ctx context.Context, e *entry) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	hosts, err := s.lookup(ctx, e.host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", e.host, err)
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("look up %s: the name has no addresses", e.host)
	}
	addresses := make([]string, 0, len(hosts))
	for _, host := range hosts {
		addresses = append(addresses, net.JoinHostPort(host, e.port))
	}

	return addresses, nil
}
