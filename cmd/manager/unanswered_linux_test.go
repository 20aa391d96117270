package main

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nagi-rtc/nagi/controllers/serve"
)

func TestConnectionsEndWhosePeerAcknowledgesNothing(t *testing.T) {
	plain, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := impatient{plain}
	defer func() { _ = listener.Close() }()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var patience int
	var failed error
	if err := raw.Control(func(descriptor uintptr) {
		patience, failed = unix.GetsockoptInt(int(descriptor), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
	}); err != nil || failed != nil || time.Duration(patience)*time.Millisecond != serve.KeepaliveTimeout {
		t.Errorf("it is %d ms: %v, %v", patience, err, failed)
	}
}
