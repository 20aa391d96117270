package udp

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// open binds workers sockets to one address. The first binds as if it were the only one, so that the address of another
// media server is refused even where that one shares it among its own workers; only then is the address opened to the
// rest.
func open(network string, local *net.UDPAddr, workers int) ([]*net.UDPConn, error) {
	first, err := net.ListenUDP(network, local)
	if err != nil || workers == 1 {
		return []*net.UDPConn{first}, err
	}
	conns := []*net.UDPConn{first}
	raw, err := first.SyscallConn()
	if err == nil {
		err = share(raw)
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return share(raw) }}
	for len(conns) < workers && err == nil {
		var conn net.PacketConn
		conn, err = config.ListenPacket(context.Background(), network, first.LocalAddr().String())
		if conn, ok := conn.(*net.UDPConn); ok {
			conns = append(conns, conn)
		}
	}
	if err != nil {
		closeAll(conns)

		return nil, err
	}

	return conns, nil
}

// share lets other sockets of this user have the same address.
func share(raw syscall.RawConn) error {
	return setOption(raw, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

func setOption(raw syscall.RawConn, level, option, value int) error {
	var err error
	controlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, value) })
	if controlErr != nil {
		return controlErr
	}

	return err
}

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}
