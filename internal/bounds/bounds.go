// Package bounds has how many may be somewhere at a time, in all and from one network: a
// client that says nothing costs a server without a bound memory that it cannot refuse.
package bounds

import (
	"net/netip"
	"sync"
)

// Reached is the bound that keeps one more out; None: there is room.
type Reached string

// The bounds.
const (
	None    Reached = ""
	All     Reached = "all"
	Address Reached = "address"
)

// Crowd counts who is there, by network. Its methods may be called from any goroutine.
type Crowd struct {
	most, mostPerAddress int

	mu        sync.Mutex
	all       int
	byNetwork map[netip.Prefix]int
}

// NewCrowd makes one of so many at most, in all and from one network.
func NewCrowd(most, mostPerAddress int) *Crowd {
	return &Crowd{most: most, mostPerAddress: mostPerAddress, byNetwork: make(map[netip.Prefix]int)}
}

// Enter counts one more from a network, or returns the bound that is reached.
func (c *Crowd) Enter(from netip.Prefix) Reached {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all >= c.most:
		return All
	case c.byNetwork[from] >= c.mostPerAddress:
		return Address
	}
	c.count(from)

	return None
}

// EnterKnown is Enter without a bound for the network.
func (c *Crowd) EnterKnown(from netip.Prefix) Reached {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= c.most {
		return All
	}
	c.count(from)

	return None
}

func (c *Crowd) count(from netip.Prefix) {
	c.all++
	c.byNetwork[from]++
}

// Leave takes back what Enter counted.
func (c *Crowd) Leave(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.byNetwork[from]--; c.byNetwork[from] == 0 {
		delete(c.byNetwork, from)
	}
}

// NetworkOf is whom an address (host:port) counts as: one of IPv6 as its /64, which is
// what a single machine is given (RFC 6177); what is none as nobody's.
func NetworkOf(hostPort string) netip.Prefix {
	address, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := address.Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 32
	}

	return netip.PrefixFrom(ip, bits).Masked()
}
