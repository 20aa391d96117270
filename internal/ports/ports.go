// Package ports keeps TCP ports for programs that listen on them later.
//
// A port that was found free by listening for a moment is anybody's until the program that
// it was meant for has it, and again while that program is restarted. One that is held is not.
package ports

import "net"

// Hold keeps a TCP address (host:port; port 0 picks a free one) until it is released: the
// system gives it to nobody who asks for any port, and to no outgoing connection. Who asks
// for this very port gets it: one program at a time, and any number of times. An error is
// of net's kind, EADDRINUSE where somebody listens there.
//
// Only Linux can do that; elsewhere the address is free when Hold returns, and no more.
func Hold(address string) (*Held, error) {
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	h, err := hold(resolved)
	if err != nil {
		return nil, &net.OpError{Op: "hold", Net: "tcp", Addr: resolved, Err: err}
	}

	return h, nil
}

// Held is an address that is kept.
type Held struct {
	address *net.TCPAddr
	release func() error
}

// Address is where it is.
func (h *Held) Address() *net.TCPAddr { return h.address }

// Close lets the address go. It is called once.
func (h *Held) Close() error { return h.release() }
