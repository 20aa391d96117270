//go:build !linux

package ports

import "net"

// hold finds out that an address is free.
func hold(address *net.TCPAddr) (*Held, error) {
	listener, err := net.ListenTCP("tcp", address)
	if err != nil {
		return nil, err
	}
	bound, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		bound = address // Cannot happen: it listens for TCP.
	}

	return &Held{address: bound, release: func() error { return nil }}, listener.Close()
}
