package bounds

import (
	"context"
	"net/netip"
	"sync"
)

// Places are for work that is done at a time: so many in all, and so many of one network,
// so that one that asks for many keeps its own waiting and nobody else. Its methods may be
// called from any goroutine.
type Places struct {
	all           chan struct{}
	mostOfNetwork int

	mu       sync.Mutex
	networks map[netip.Prefix]*network
}

// network is one that has a place, or waits for one.
type network struct {
	places chan struct{}
	users  int
}

// NewPlaces makes so many, in all and for one network.
func NewPlaces(most, mostOfNetwork int) *Places {
	return &Places{
		all: make(chan struct{}, most), mostOfNetwork: mostOfNetwork, networks: make(map[netip.Prefix]*network),
	}
}

// Take waits for a place, until ctx ends. leave gives it back, and is nil when there was
// none.
func (p *Places) Take(ctx context.Context, from netip.Prefix) (leave func()) {
	n := p.come(from)
	select {
	case n.places <- struct{}{}:
	case <-ctx.Done():
		p.part(from, n)

		return nil
	}
	select {
	case p.all <- struct{}{}:
	case <-ctx.Done():
		<-n.places
		p.part(from, n)

		return nil
	}

	return func() {
		<-p.all
		<-n.places
		p.part(from, n)
	}
}

func (p *Places) come(from netip.Prefix) *network {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.networks[from]
	if n == nil {
		n = &network{places: make(chan struct{}, p.mostOfNetwork)}
		p.networks[from] = n
	}
	n.users++

	return n
}

// part forgets a network that nobody is of any more.
func (p *Places) part(from netip.Prefix, n *network) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.users--; n.users == 0 {
		delete(p.networks, from)
	}
}
