// Package udp is the one address through which all media of a media server passes: bursts of datagrams in, batches out.
//
// A burst is what has arrived when a worker looks. The worker's receive function answers into a Batch, and the batch
// goes to the kernel when the function returns: there is no timer, and nothing changes its goroutine on the way. What
// makes a media server slow is one pass through the kernel's network stack per datagram, so a batch passes a train of
// datagrams to one receiver as one message (UDP_SEGMENT), and many messages in one call (sendmmsg).
package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// bufferBytes is asked of the kernel for each direction. A keyframe of a hundred senders arrives within milliseconds,
// and Linux's default of 208 KiB loses part of it. The kernel may grant less (net.core.rmem_max), which is no error.
const bufferBytes = 4 << 20

// Socket is one UDP address that many peers share, served by one or more workers. Its methods may be called from any
// goroutine.
type Socket struct {
	address netip.AddrPort
	workers []*worker

	counters   counters
	quiescence quiescence

	closeOnce sync.Once
	closeErr  error
	closed    chan struct{}
}

// Listen opens workers sockets at one address, a host:port of IP literals. An empty host or [::] means both IPv4 and
// IPv6, 0.0.0.0 IPv4 alone; port 0 lets the kernel choose. Of such a socket's many addresses, that which a datagram
// arrived at is known on Linux alone; see Path. The kernel spreads the peers over the workers
// (SO_REUSEPORT); where it cannot, which is everywhere but on Linux, there is one worker however many are asked for.
func Listen(address string, workers int) (*Socket, error) {
	return listen(address, workers, offload{segmentation: true, coalescing: true})
}

// offload is what of the kernel's handling of many datagrams as one is wanted; tests want less.
type offload struct{ segmentation, coalescing bool }

func listen(address string, workers int, wanted offload) (*Socket, error) {
	if workers < 1 {
		return nil, fmt.Errorf("listen for media on udp %s with %d workers: there must be 1 at least", address, workers)
	}
	local, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("media address %q: %w; give host:port, for example 127.0.0.1:5004", address, err)
	}
	network := "udp"
	if local.IP.To4() != nil {
		network = "udp4" // Go would listen on IPv6 too for 0.0.0.0.
	}
	conns, err := open(network, local, workers)
	if err != nil {
		mend := "is another media server running there?"
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			mend = "no interface of this machine has this address: give one that it has, or 0.0.0.0"
		}

		return nil, fmt.Errorf("listen for media on udp %s: %w; %s", address, err, mend)
	}

	s := &Socket{address: localAddress(conns[0]), closed: make(chan struct{})}
	for number, conn := range conns {
		_ = conn.SetReadBuffer(bufferBytes)
		_ = conn.SetWriteBuffer(bufferBytes)
		w, err := s.newWorker(number, conn, wanted)
		if err != nil {
			closeAll(conns)

			return nil, fmt.Errorf("listen for media on udp %s: %w", address, err)
		}
		s.workers = append(s.workers, w)
	}

	return s, nil
}

func localAddress(conn *net.UDPConn) netip.AddrPort {
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}

	return unmapped(local.AddrPort())
}

// unmapped is an address as people write it: an IPv4 address that an IPv6 socket reports as ::ffff:192.0.2.1 is
// 192.0.2.1.
func unmapped(address netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}

func closeAll(conns []*net.UDPConn) {
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// Addr is where the socket listens. An unspecified address stands for every interface.
func (s *Socket) Addr() netip.AddrPort { return s.address }

// Workers is the number of workers, from 0 up to which they are numbered.
func (s *Socket) Workers() int { return len(s.workers) }

// Send sends one datagram now, outside any batch; on return the kernel has it, or it is lost.
func (s *Socket) Send(datagram []byte, destination *Destination) error {
	_, _, err := s.workers[0].conn.WriteMsgUDPAddrPort(datagram, destination.raw.control(), destination.path.Remote)
	s.counters.count(err == nil, 1, 1)

	return err
}

// Close closes the socket: Serve returns once what it was doing is done, and jobs that have not begun are dropped.
// Closing twice is harmless.
func (s *Socket) Close() error {
	s.closeOnce.Do(func() {
		close(s.closed)
		for _, w := range s.workers {
			s.closeErr = errors.Join(s.closeErr, w.conn.Close())
		}
	})

	return s.closeErr
}
