package tables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// lookupInterval is how often names are looked up again.
	lookupInterval = 5 * time.Second
	// lookupTimeout bounds one lookup.
	lookupTimeout = 4 * time.Second
)

// manager is one entry of Config.Managers.
type manager struct {
	host, port string
	// isName tells that the host must be looked up.
	isName bool
	// addresses are those of the last lookup that succeeded; a failing resolver
	// must not cost the streams that work.
	addresses []string
	failing   bool
}

// ParseManagers checks the managers' addresses.
func ParseManagers(entries []string) error {
	_, err := parseManagers(entries)
	return err
}

func parseManagers(entries []string) ([]*manager, error) {
	if len(entries) == 0 {
		return nil, errors.New("no managers: name at least one as host:port")
	}
	managers := make([]*manager, 0, len(entries))
	for _, entry := range entries {
		host, port, err := net.SplitHostPort(entry)
		if err != nil {
			return nil, fmt.Errorf("manager %q: %w; write host:port", entry, err)
		}
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return nil, fmt.Errorf("manager %q: port %q is no number from 1 to 65535", entry, port)
		}
		if host == "" {
			return nil, fmt.Errorf("manager %q has no host; write host:port", entry)
		}
		m := &manager{host: host, port: port}
		if _, err := netip.ParseAddr(host); err == nil {
			m.addresses = []string{entry}
		} else {
			m.isName = true
		}
		managers = append(managers, m)
	}
	return managers, nil
}

// Run dials the managers and keeps one stream to each of their addresses until
// ctx ends. It returns when all its goroutines have; the error is nil unless the
// configuration is wrong.
func (s *Subscriber) Run(ctx context.Context) error {
	managers, err := parseManagers(s.config.Managers)
	if err != nil {
		return err
	}
	var streams, watch sync.WaitGroup
	watch.Go(func() { s.watchVersions(ctx) })

	ticker := time.NewTicker(lookupInterval)
	defer ticker.Stop()
	running := make(map[string]context.CancelFunc)
	// The addresses that need no lookup come first: a dead resolver delays none
	// of them.
	s.follow(ctx, &streams, running, managers)
	for ctx.Err() == nil {
		s.lookUp(ctx, managers)
		s.follow(ctx, &streams, running, managers)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	for _, stop := range running {
		stop()
	}
	streams.Wait()
	watch.Wait()
	s.settlers.Wait()
	return nil
}

// follow starts a stream for each address that has none and stops those whose
// address is gone.
func (s *Subscriber) follow(ctx context.Context, streams *sync.WaitGroup, running map[string]context.CancelFunc, managers []*manager) {
	wanted := make(map[string]struct{})
	for _, m := range managers {
		for _, address := range m.addresses {
			wanted[address] = struct{}{}
		}
	}
	for address := range wanted {
		if _, ok := running[address]; ok {
			continue
		}
		streamContext, stop := context.WithCancel(ctx)
		running[address] = stop
		streams.Go(func() { s.keepConnected(streamContext, address) })
	}
	maps.DeleteFunc(running, func(address string, stop context.CancelFunc) bool {
		_, ok := wanted[address]
		if !ok {
			stop()
		}
		return !ok
	})
}

// lookUp looks all names up, side by side.
func (s *Subscriber) lookUp(ctx context.Context, managers []*manager) {
	var lookups sync.WaitGroup
	for _, m := range managers {
		if m.isName {
			lookups.Go(func() { s.lookUpOne(ctx, m) })
		}
	}
	lookups.Wait()
}

func (s *Subscriber) lookUpOne(ctx context.Context, m *manager) {
	lookupContext, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	hosts, err := s.config.LookupHost(lookupContext, m.host)
	if err == nil && len(hosts) == 0 {
		err = errors.New("the name has no addresses")
	}
	if err != nil {
		if !m.failing && ctx.Err() == nil {
			s.config.Log.Warn("cannot look up a manager's name; the addresses known stay", "name", m.host, "addresses", m.addresses, "error", err)
		}
		m.failing = true
		return
	}
	m.failing = false
	addresses := make([]string, 0, len(hosts))
	for _, host := range hosts {
		addresses = append(addresses, net.JoinHostPort(host, m.port))
	}
	slices.Sort(addresses)
	m.addresses = addresses
}
