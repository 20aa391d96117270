//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
	"golang.org/x/sys/unix"
)

const (
	batchSlots         = 32
	receiveBufferBytes = 4 << 20
	timestampBytes     = 32 // CMSG_SPACE(sizeof(struct timespec)) on 64-bit machines.
)

// receiveSocket is the UDP socket of a client that receives. It takes what has
// arrived with few system calls, so that one core of clients can follow the
// server, and notes when the kernel took each RTP packet in: what the client
// itself costs is then no part of the delay.
type receiveSocket struct {
	*net.UDPConn
	raw      syscall.RawConn
	receive  func(fd uintptr) bool
	arrivals *arrivals
	heard    *reception
	sink     *counter // Not nil: RTP is counted there and goes no further.
	seen     []uint32 // SSRCs that the sink has counted.

	messages [batchSlots]message
	vectors  [batchSlots]unix.Iovec
	names    [batchSlots]unix.RawSockaddrInet4
	controls [batchSlots][timestampBytes]byte
	buffers  [batchSlots][slotBytes]byte

	filled, next int
	errno        syscall.Errno
}

func newReceiveSocket(connection *net.UDPConn, a *arrivals, heard *reception, sink *counter) (*receiveSocket, error) {
	raw, err := connection.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	s := &receiveSocket{UDPConn: connection, raw: raw, arrivals: a, heard: heard, sink: sink}
	s.receive = s.receiveBatch
	for i := range s.messages {
		s.vectors[i].Base = &s.buffers[i][0]
		s.vectors[i].SetLen(slotBytes)
		header := &s.messages[i].header
		header.Iov = &s.vectors[i]
		header.SetIovlen(1)
		header.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		header.Control = &s.controls[i][0]
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		// As far as the kernel's limit lets it grow.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBufferBytes)
		if sink == nil {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("ask the kernel for arrival times: %w", err)
	}
	if sink != nil {
		sink.sinks.add(s)
	}

	return s, nil
}

func (s *receiveSocket) receiveBatch(fd uintptr) bool {
	for i := range s.messages {
		s.messages[i].header.Namelen = unix.SizeofSockaddrInet4
		s.messages[i].header.SetControllen(timestampBytes)
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&s.messages[0])), batchSlots,
		unix.MSG_DONTWAIT, 0, 0)
	s.filled, s.next, s.errno = 0, 0, errno
	if errno == 0 {
		s.filled = int(n) //nolint:gosec // At most batchSlots.
	}

	return errno != unix.EAGAIN && errno != unix.EINTR
}

// ReadFromAddrPort returns the next datagram; pion reads with it.
//
//nolint:unparam // As pion wants it.
func (s *receiveSocket) ReadFromAddrPort(buffer []byte) (int, netip.AddrPort, error) {
	for {
		for s.next < s.filled {
			i := s.next
			s.next++
			datagram := s.buffers[i][:s.messages[i].length]
			if isRTP(datagram) {
				s.heard.note(datagram)
				if s.sink != nil {
					s.sinkPacket(datagram)

					continue
				}
				s.arrivals.note(datagram, s.arrivedAt(i))
			}
			port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&s.names[i].Port))[:])

			return copy(buffer, datagram), netip.AddrPortFrom(netip.AddrFrom4(s.names[i].Addr), port), nil
		}
		if err := s.raw.Read(s.receive); err != nil {
			return 0, netip.AddrPort{}, fmt.Errorf("receive: %w", err)
		}
		if s.errno != 0 && s.errno != unix.ECONNREFUSED {
			return 0, netip.AddrPort{}, fmt.Errorf("receive: %w", s.errno)
		}
	}
}

// WriteToAddrPort goes with ReadFromAddrPort.
func (s *receiveSocket) WriteToAddrPort(data []byte, address netip.AddrPort) (int, error) {
	return s.WriteToUDPAddrPort(data, address)
}

// arrivedAt is the kernel's time of a message in nanoseconds; 0: not told.
func (s *receiveSocket) arrivedAt(i int) int64 {
	control := &s.controls[i]
	header := (*unix.Cmsghdr)(unsafe.Pointer(control))
	if s.messages[i].header.Controllen < timestampBytes || header.Level != unix.SOL_SOCKET ||
		header.Type != unix.SCM_TIMESTAMPNS {
		return 0
	}
	seconds := int64(binary.NativeEndian.Uint64(control[16:])) //nolint:gosec // A time_t.

	return seconds*int64(time.Second) + int64(binary.NativeEndian.Uint64(control[24:])) //nolint:gosec // Below 10^9.
}

func (s *receiveSocket) sinkPacket(packet []byte) {
	s.sink.packets.Add(1)
	ssrc := binary.BigEndian.Uint32(packet[8:])
	for _, seen := range s.seen {
		if seen == ssrc {
			return
		}
	}
	s.seen = append(s.seen, ssrc)
	s.sink.streams.Add(1)
}

// isRTP tells RTP from RTCP, DTLS and STUN on one port (RFC 7983, RFC 5761).
func isRTP(datagram []byte) bool {
	return len(datagram) >= headerBytes && datagram[0]>>6 == 2 && !isRTCP(datagram)
}

func isRTCP(datagram []byte) bool {
	return len(datagram) >= headerBytes && datagram[0]>>6 == 2 && datagram[1] >= 192 && datagram[1] <= 223
}

// receiveNet makes receiveSockets for pion.
type receiveNet struct {
	*stdnet.Net
	arrivals *arrivals
	heard    *reception
	sink     *counter
}

// ListenUDP is what ICE gathers host candidates with.
func (n *receiveNet) ListenUDP(network string, address *net.UDPAddr) (transport.UDPConn, error) {
	connection, err := net.ListenUDP(network, address)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}

	return newReceiveSocket(connection, n.arrivals, n.heard, n.sink)
}

// arrivals remembers when the kernel took in the last few thousand RTP packets
// of one connection, for the other goroutine that opens them later.
type arrivals struct {
	slots [1 << 12]struct {
		packet atomic.Uint64 // SSRC and sequence number.
		at     atomic.Int64
	}
}

func (a *arrivals) note(packet []byte, at int64) {
	key, slot := a.key(packet)
	a.slots[slot].packet.Store(0)
	a.slots[slot].at.Store(at)
	a.slots[slot].packet.Store(key)
}

// of returns 0 for a packet that is forgotten.
func (a *arrivals) of(packet []byte) int64 {
	key, slot := a.key(packet)
	if a.slots[slot].packet.Load() != key {
		return 0
	}
	at := a.slots[slot].at.Load()
	if a.slots[slot].packet.Load() != key {
		return 0
	}

	return at
}

func (a *arrivals) key(packet []byte) (key uint64, slot uint64) {
	sequence, ssrc := uint64(binary.BigEndian.Uint16(packet[2:])), uint64(binary.BigEndian.Uint32(packet[8:]))
	// Streams of one connection begin at like numbers: the SSRC spreads them.
	return 1<<63 | ssrc<<16 | sequence, (sequence + ssrc*0x9e3779b1>>8) % uint64(len(a.slots))
}
