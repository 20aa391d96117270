package rtc

import (
	"fmt"
	"net"
	"net/netip"
)

// candidateAddresses are the addresses that clients are told: the public ones if there are any, else what the socket is
// bound to, else those of the interfaces.
func candidateAddresses(local netip.AddrPort, public []netip.Addr) ([]netip.AddrPort, error) {
	addresses := public
	if len(addresses) == 0 {
		addresses = []netip.Addr{local.Addr()}
		if local.Addr().IsUnspecified() {
			var err error
			if addresses, err = interfaceAddresses(local.Addr().Is4()); err != nil {
				return nil, err
			}
		}
	}

	announced := make([]netip.AddrPort, 0, len(addresses))
	for _, address := range addresses {
		if !address.IsValid() || address.IsUnspecified() || address.IsMulticast() {
			return nil, fmt.Errorf("public address %q cannot be reached by clients; give a unicast address", address)
		}
		announced = append(announced, netip.AddrPortFrom(address.Unmap(), local.Port()))
	}

	return announced, nil
}

// interfaceAddresses lists the unicast addresses of this machine: loopback ones only if there are no others, link-local
// ones never, because they need a zone that means nothing to a client.
func interfaceAddresses(onlyIPv4 bool) ([]netip.Addr, error) {
	networks, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of this machine: %w; name one with a public address instead", err)
	}

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
		return global, nil
	}

	return loopback, nil
}
