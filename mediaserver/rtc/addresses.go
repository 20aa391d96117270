package rtc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// candidateAddresses are the addresses that clients are told: the public ones if there are any, else what the socket
// is bound to, else those of the interfaces. One that no client can reach is an error: a client told of it would wait
// for half a minute and fail without a word.
func candidateAddresses(bound netip.AddrPort, public []netip.AddrPort) ([]netip.AddrPort, error) {
	if len(public) == 0 {
		own, err := ownAddresses(bound.Addr())
		if err != nil {
			return nil, err
		}
		for _, address := range own {
			public = append(public, netip.AddrPortFrom(address, 0))
		}
	}

	announced := make([]netip.AddrPort, 0, len(public))
	for _, address := range public {
		port := address.Port()
		if port == 0 {
			port = bound.Port()
		}
		address = netip.AddrPortFrom(address.Addr().Unmap(), port)
		if err := checkReachable(bound, address); err != nil {
			return nil, fmt.Errorf("media on %s cannot be announced at %s: %w", bound, address, err)
		}
		announced = append(announced, address)
	}

	return announced, nil
}

// checkReachable tells why nobody can reach the bound socket by a public address.
func checkReachable(bound, announced netip.AddrPort) error {
	local, public := bound.Addr(), announced.Addr()
	everywhere := local.IsUnspecified()
	switch {
	case !public.IsValid() || public.IsUnspecified() || public.IsMulticast() || public == broadcast:
		return errors.New("it is nobody's; give a unicast address")
	case public.Is6() && public.IsLinkLocalUnicast():
		return errors.New("a link-local address needs a zone, which means nothing to a client; give another one")
	case local.Is4() && public.Is6():
		return fmt.Errorf("the socket hears no IPv6; listen on [::]:%d", bound.Port())
	case local.Is6() && public.Is4() && !everywhere:
		return fmt.Errorf("the socket hears no IPv4; listen on [::]:%d or 0.0.0.0:%d", bound.Port(), bound.Port())
	case local.IsLoopback() && !public.IsLoopback():
		return fmt.Errorf("the socket hears this machine alone; listen on 0.0.0.0:%d, [::]:%d or an address of an interface",
			bound.Port(), bound.Port())
	case public.IsLoopback() && !everywhere && public != local && announced.Port() == bound.Port():
		// Another port would be a relay's.
		return fmt.Errorf("the socket hears %s alone; announce that, or listen on 0.0.0.0:%d or [::]:%d",
			local, bound.Port(), bound.Port())
	}

	return nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// ownAddresses are those that a socket bound to an address has: it, or all of this machine.
func ownAddresses(bound netip.Addr) ([]netip.Addr, error) {
	if !bound.IsUnspecified() {
		return []netip.Addr{bound}, nil
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces of this machine: %w; give a public address instead", err)
	}

	var prefixes []net.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		of, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list the addresses of interface %s: %w; give a public address instead", i.Name, err)
		}
		prefixes = append(prefixes, of...)
	}
	addresses := unicast(prefixes, bound.Is4())
	if len(addresses) == 0 {
		return nil, fmt.Errorf("media on %s can be announced nowhere: no interface that is up has an address for it; "+
			"give a public address", bound)
	}

	return addresses, nil
}

// unicast chooses among the addresses of interfaces: loopback ones only if there are no others, link-local ones never,
// because they need a zone that means nothing to a client.
func unicast(networks []net.Addr, onlyIPv4 bool) []netip.Addr {
	var global, loopback []netip.Addr
	for _, network := range networks {
		prefix, ok := network.(*net.IPNet)
		if !ok {
			continue
		}
		address, ok := netip.AddrFromSlice(prefix.IP)
		address = address.Unmap()
		switch {
		case !ok || address.IsLinkLocalUnicast() || (onlyIPv4 && !address.Is4()):
		case address.IsLoopback():
			loopback = append(loopback, address)
		default:
			global = append(global, address)
		}
	}
	if len(global) > 0 {
		return global
	}

	return loopback
}
