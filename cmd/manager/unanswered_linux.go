package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// giveUp has a connection end when what was sent stays unacknowledged for so long
// (tcp(7), TCP_USER_TIMEOUT).
func giveUp(conn net.Conn, after time.Duration) error {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("reach the socket of a connection: %w", err)
	}
	var failed error
	err = raw.Control(func(descriptor uintptr) {
		failed = unix.SetsockoptInt(int(descriptor), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("bound how long what was sent may stay unacknowledged: %w", err)
	}

	return nil
}
