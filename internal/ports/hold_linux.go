package ports

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// hold binds a socket and never listens. Linux lets others listen on its address who allow
// its reuse, as Go's listeners do, once the socket allows that too; but it looks elsewhere
// for those who ask for any port.
func hold(address *net.TCPAddr) (*Held, error) {
	socket, bound, err := bind(address)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt", err), unix.Close(socket))
	}

	return &Held{address: bound, release: func() error { return unix.Close(socket) }}, nil
}

func bind(address *net.TCPAddr) (socket int, bound *net.TCPAddr, err error) {
	family := unix.AF_INET6
	if address.IP.To4() != nil {
		family = unix.AF_INET
	}
	socket, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && address.IP == nil {
		return bind(&net.TCPAddr{IP: net.IPv4zero, Port: address.Port})
	}
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(socket)
		}
	}()
	// A port that is asked for may be left of an earlier program's connections (TIME_WAIT),
	// which keep nobody from it who allows reuse. One that is picked is nobody's.
	if address.Port != 0 {
		if err = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return 0, nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if family == unix.AF_INET6 {
		only := 1
		if address.IP == nil || address.IP.IsUnspecified() {
			only = 0 // Every address of the machine, of both families, as net.Listen has it.
		}
		if err = unix.SetsockoptInt(socket, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return 0, nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err = unix.Bind(socket, sockaddr(address)); err != nil {
		return 0, nil, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(socket)
	if err != nil {
		return 0, nil, os.NewSyscallError("getsockname", err)
	}
	bound = &net.TCPAddr{Zone: address.Zone}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		bound.IP, bound.Port = name.Addr[:], name.Port
	case *unix.SockaddrInet6:
		bound.IP, bound.Port = name.Addr[:], name.Port
	}

	return socket, bound, nil
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
