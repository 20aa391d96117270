package ports

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

func hold(address *net.TCPAddr) (*Held, error) {
	if address.IP != nil && !address.IP.IsUnspecified() {
		return holdExactly(address)
	}
	// Every address of the machine, of both families where it has both, as net.Listen has it.
	held, err := holdExactly(&net.TCPAddr{IP: net.IPv6unspecified, Port: address.Port})
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return holdExactly(&net.TCPAddr{IP: net.IPv4zero, Port: address.Port})
	}

	return held, err
}

// holdExactly binds a socket and never listens. Linux lets others listen on its address who
// allow its reuse, as Go's listeners do, once the socket allows that too; but it looks
// elsewhere for those who ask for any port.
func holdExactly(address *net.TCPAddr) (*Held, error) {
	family := unix.AF_INET6
	if address.IP.To4() != nil {
		family = unix.AF_INET
	}
	socket, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(socket), address.String())
	bound, err := bind(socket, family, address)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}

	return &Held{address: bound, release: file.Close}, nil
}

func bind(socket, family int, address *net.TCPAddr) (*net.TCPAddr, error) {
	reuse := func() error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	}
	// A port that is asked for may be left of an earlier program's connections (TIME_WAIT),
	// which keep nobody from it who allows reuse. One that is picked is nobody's.
	if address.Port != 0 {
		if err := reuse(); err != nil {
			return nil, err
		}
	}
	if family == unix.AF_INET6 {
		only := 1
		if address.IP.IsUnspecified() {
			only = 0
		}
		if err := unix.SetsockoptInt(socket, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(socket, sockaddr(address)); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(socket)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	bound := &net.TCPAddr{Zone: address.Zone}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		bound.IP, bound.Port = name.Addr[:], name.Port
	case *unix.SockaddrInet6:
		bound.IP, bound.Port = name.Addr[:], name.Port
	}

	return bound, reuse()
}

func sockaddr(address *net.TCPAddr) unix.Sockaddr {
	if ip := address.IP.To4(); ip != nil {
		return &unix.SockaddrInet4{Port: address.Port, Addr: [4]byte(ip)}
	}
	result := &unix.SockaddrInet6{Port: address.Port}
	copy(result.Addr[:], address.IP.To16())
	if zone, err := net.InterfaceByName(address.Zone); err == nil {
		result.ZoneId = uint32(zone.Index)
	}

	return result
}
