//go:build !linux

package udp

import (
	"errors"
	"net"
)

// open binds one socket, however many are asked for: elsewhere than on Linux several at one address either cannot be,
// or one of them gets everything.
func open(network string, local *net.UDPAddr, _ int) ([]*net.UDPConn, error) {
	conn, err := net.ListenUDP(network, local)
	if err != nil {
		return nil, err
	}

	return []*net.UDPConn{conn}, nil
}

// rawDestination is nothing: the peer's address itself is what Go's sockets take, and the kernel chooses ours.
type rawDestination struct{}

func (rawDestination) set(Path, bool) {}

func (rawDestination) control() []byte { return nil }

// receiver reads one datagram for each call.
type receiver struct {
	conn     *net.UDPConn
	counters *counters
	slot     [maxReceived + 1]byte // One more, to see that a datagram is too long.
	burst    [1]Datagram
}

func newReceiver(conn *net.UDPConn, counters *counters, _ bool) (*receiver, error) {
	return &receiver{conn: conn, counters: counters}, nil
}

// receive waits for a datagram and returns it, valid until the next call. Its error says that the socket is closed.
func (r *receiver) receive() ([]Datagram, error) {
	for {
		n, source, err := r.conn.ReadFromUDPAddrPort(r.slot[:])
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil: // Of one datagram, which is no reason to stop.
			continue
		case n < 1 || n > maxReceived:
			r.counters.datagramsDiscarded.Add(1)

			continue
		}
		r.counters.receiveCalls.Add(1)
		r.counters.datagramsReceived.Add(1)
		r.burst[0] = Datagram{Payload: r.slot[:n:n], Source: unmapped(source)}

		return r.burst[:], nil
	}
}

// newCarrier sends one datagram for each call.
func newCarrier(conn *net.UDPConn, counters *counters, _ bool) (carrier, error) {
	return each(func(datagram []byte, destination *Destination) {
		_, err := conn.WriteToUDPAddrPort(datagram, destination.path.Remote)
		counters.count(err == nil, 1, 1)
	}), nil
}
