package udp

import "net/netip"

// Path is the two ends that datagrams pass between. Where a socket has many addresses, which one is asked and answers
// is part of it: a peer that asked at one takes no answer from another (RFC 8445 section 7.2.5.2.1), and neither does a
// firewall on the way.
type Path struct {
	// Remote is the peer's end; an IPv4 address is never in its IPv4-mapped form.
	Remote netip.AddrPort
	// Local is ours, its port being the socket's. The zero Addr leaves the choice to the kernel: it is what datagrams
	// have that arrive at a socket bound to one address, and everywhere but on Linux.
	Local netip.Addr
}

// Destination is a path prepared for sending, once for all datagrams. It may be shared by goroutines. Two of them are
// different even when their paths are the same: datagrams are grouped by pointer.
type Destination struct {
	path Path
	raw  rawDestination
}

// Destination prepares an address for sending through this socket, from whichever of its addresses the kernel chooses.
func (s *Socket) Destination(remote netip.AddrPort) *Destination {
	return s.DestinationOn(Path{Remote: remote})
}

// DestinationOn prepares a path for sending through this socket.
func (s *Socket) DestinationOn(path Path) *Destination {
	d := &Destination{path: Path{Remote: unmapped(path.Remote), Local: path.Local.Unmap()}}
	d.raw.set(d.path, s.address.Addr().Is4())

	return d
}

// AddrPort is the peer's address; an IPv4 one is not in its IPv4-mapped form.
func (d *Destination) AddrPort() netip.AddrPort { return d.path.Remote }

// Path is where datagrams go, and from which address of ours.
func (d *Destination) Path() Path { return d.path }
