// Package udp is the one socket through which all media of a media server passes.
package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// bufferBytes is asked of the kernel for each direction. A keyframe of a hundred senders arrives within milliseconds,
// and Linux's default of 208 KiB loses part of it. The kernel may grant less (net.core.rmem_max), which is no error.
const bufferBytes = 4 << 20

// Socket is a UDP socket that many peers share. Its methods may be called from any goroutine.
//
// It is a net.PacketConn, and has ReadFromAddrPort and WriteToAddrPort besides (ice.AddrPortReaderWriter), so that no
// address is allocated for a datagram.
type Socket struct {
	conn *net.UDPConn
	ipv4 bool

	closeOnce sync.Once
	closeErr  error
}

// Listen opens a socket at address, a host:port of IP literals. An empty host or [::] means both IPv4 and IPv6, 0.0.0.0
// IPv4 alone; port 0 lets the kernel choose.
func Listen(address string) (*Socket, error) {
	local, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("media address %q: %w; give host:port, for example 127.0.0.1:5004", address, err)
	}

	network := "udp"
	if local.IP.To4() != nil {
		network = "udp4" // Go would listen on IPv6 too for 0.0.0.0.
	}
	conn, err := net.ListenUDP(network, local)
	if err != nil {
		return nil, fmt.Errorf("listen for media on udp %s: %w; is another media server running there?", address, err)
	}
	_ = conn.SetReadBuffer(bufferBytes)
	_ = conn.SetWriteBuffer(bufferBytes)

	socket := &Socket{conn: conn}
	socket.ipv4 = socket.Addr().Addr().Is4()

	return socket, nil
}

// Addr is where the socket listens. An unspecified address stands for every interface.
func (s *Socket) Addr() netip.AddrPort {
	local, ok := s.conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	address := local.AddrPort()

	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}

// Close closes the socket; a read under way returns net.ErrClosed. Closing twice is harmless.
func (s *Socket) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.conn.Close() })

	return s.closeErr
}

// ReadFromAddrPort reads one datagram. Errors of a single datagram (an ICMP answer, a lack of kernel memory) are no reason
// for a reader of all peers to stop, so only the socket's closing and deadlines are reported.
func (s *Socket) ReadFromAddrPort(datagram []byte) (int, netip.AddrPort, error) {
	for {
		n, source, err := s.conn.ReadFromUDPAddrPort(datagram)
		if err == nil {
			return n, netip.AddrPortFrom(source.Addr().Unmap(), source.Port()), nil
		}
		var netErr net.Error
		if errors.Is(err, net.ErrClosed) || (errors.As(err, &netErr) && netErr.Timeout()) {
			return 0, netip.AddrPort{}, err
		}
	}
}

// WriteToAddrPort sends one datagram; on return the kernel has it, or it is lost.
func (s *Socket) WriteToAddrPort(datagram []byte, destination netip.AddrPort) (int, error) {
	if s.ipv4 {
		// An IPv4 socket refuses the IPv4-mapped form.
		destination = netip.AddrPortFrom(destination.Addr().Unmap(), destination.Port())
	}

	return s.conn.WriteToUDPAddrPort(datagram, destination)
}

// ReadFrom is ReadFromAddrPort for net.PacketConn.
func (s *Socket) ReadFrom(datagram []byte) (int, net.Addr, error) {
	n, source, err := s.ReadFromAddrPort(datagram)
	if err != nil {
		return 0, nil, err
	}

	return n, net.UDPAddrFromAddrPort(source), nil
}

// WriteTo is WriteToAddrPort for net.PacketConn.
func (s *Socket) WriteTo(datagram []byte, destination net.Addr) (int, error) {
	address, ok := destination.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("send to %v: %w", destination, net.InvalidAddrError("not a UDP address"))
	}

	return s.WriteToAddrPort(datagram, address.AddrPort())
}

// LocalAddr is Addr for net.PacketConn.
func (s *Socket) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// SetDeadline is that of net.PacketConn.
func (s *Socket) SetDeadline(t time.Time) error { return s.conn.SetDeadline(t) }

// SetReadDeadline is that of net.PacketConn.
func (s *Socket) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// SetWriteDeadline is that of net.PacketConn.
func (s *Socket) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }
