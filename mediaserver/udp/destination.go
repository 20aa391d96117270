package udp

import "net/netip"

// Destination is an address prepared for sending, once for all datagrams. It may be shared by goroutines. Two of them
// are different even when their addresses are the same: datagrams are grouped by pointer.
type Destination struct {
	address netip.AddrPort
	raw     rawDestination
}

// Destination prepares an address for sending through this socket.
func (s *Socket) Destination(address netip.AddrPort) *Destination {
	d := &Destination{address: unmapped(address)}
	d.raw.set(d.address, s.address.Addr().Is4())

	return d
}

// AddrPort is the address; an IPv4 one is not in its IPv4-mapped form.
func (d *Destination) AddrPort() netip.AddrPort { return d.address }
