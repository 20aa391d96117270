package udp

import (
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// coalescedBytes is the room that a message needs in which the kernel has put many datagrams. It is not a multiple of
// 4,096, so that the beginnings of the slots, which most datagrams do not go beyond, are not all in the same lines of
// the processor's caches.
const coalescedBytes = 64<<10 + 2<<10 + 64

// receiver reads the datagrams of one worker, all that have arrived at once (recvmmsg). Where the kernel has coalesced
// those of one source into one message (UDP_GRO), it splits them again: measured over loopback with trains of 8
// datagrams of 1,128 bytes, 0.12 us for a datagram instead of 0.57; single datagrams cost 0.55 either way.
type receiver struct {
	raw      syscall.RawConn
	read     func(fd uintptr) bool // The method attempt, made once: a method value is an allocation.
	counters *counters

	headers  [MaxBurst]mmsghdr
	vectors  [MaxBurst]unix.Iovec
	names    [MaxBurst]unix.RawSockaddrInet6
	controls [MaxBurst]controls
	slots    [MaxBurst][]byte

	waited   bool // The last call did, as there was nothing yet.
	received int  // Messages that the last call returned.
	next     int  // The first of them that has not been handed on.
	offset   int  // What of it has been, in bytes.
	burst    [MaxBurst]Datagram
}

func newReceiver(conn *net.UDPConn, counters *counters, coalescing bool) (*receiver, error) {
	raw, err := conn.SyscallConn()
	if err == nil {
		err = askForLocal(raw, localAddress(conn).Addr())
	}
	if err != nil {
		return nil, err
	}
	// A kernel before 5.0 refuses, and one that emulates Linux may.
	coalescing = coalescing && setOption(raw, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
	counters.coalescing.Store(coalescing)

	size := maxReceived + 1 // One more, to see that a datagram is too long.
	if coalescing {
		size = coalescedBytes
	}
	memory := make([]byte, MaxBurst*size)
	r := &receiver{raw: raw, counters: counters}
	r.read = r.attempt
	for i := range MaxBurst {
		r.slots[i] = memory[i*size : (i+1)*size]
		r.vectors[i].Base = &r.slots[i][0]
		r.vectors[i].SetLen(size)
		header := &r.headers[i].header
		header.Iov = &r.vectors[i]
		header.SetIovlen(1)
		header.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		header.Control = (*byte)(unsafe.Pointer(&r.controls[i]))
	}
	r.received = MaxBurst
	r.reset()

	return r, nil
}

// askForLocal has the kernel tell at which of our addresses datagrams arrive, unless there is but the one that the
// socket is bound to.
func askForLocal(raw syscall.RawConn, bound netip.Addr) error {
	switch {
	case !bound.IsUnspecified():
		return nil
	case bound.Is4():
		return setOption(raw, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	default: // It holds for IPv4 too (RFC 3542 section 6.1, RFC 3493 section 3.7).
		return setOption(raw, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
}

// reset makes the headers that the last call has filled ready for the next.
func (r *receiver) reset() {
	for i := range r.received {
		header := &r.headers[i].header
		header.Namelen = unix.SizeofSockaddrInet6
		header.SetControllen(int(unsafe.Sizeof(controls{})))
		header.Flags = 0
	}
	r.received, r.next, r.offset = 0, 0, 0
}

// receive waits for datagrams and returns 1 to MaxBurst of them, valid until the next call. Its error says that the
// socket is closed: errors of single datagrams (an ICMP answer, a lack of kernel memory) are no reason for it.
func (r *receiver) receive() ([]Datagram, error) {
	for {
		if burst := r.split(); len(burst) > 0 {
			r.counters.datagramsReceived.Add(uint64(len(burst)))

			return burst, nil
		}
		r.reset()
		if !r.waited {
			// The runtime does not see that others could go on while the kernel works for this one, and would take
			// the processor away after 10 ms only: posted jobs, which a pause waits for, go on now.
			runtime.Gosched()
		}
		r.waited = false
		if err := r.raw.Read(r.read); err != nil {
			return nil, err
		}
		if r.received > 0 {
			r.counters.receiveCalls.Add(1)
		}
	}
}

// attempt is what the runtime calls when the socket is readable; false makes it wait until it is so again.
//
// The system call waits for nothing and takes some tens of microseconds at most, so the runtime is not told of it
// (RawSyscall6). Told of a system call in a process that was asleep, it wakes its monitor, a thread that then looks
// around every 20 us for a millisecond or so: for a single datagram, of which a receiver's report is one, that cost
// more than all else that is done about it.
func (r *receiver) attempt(fd uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd,
		uintptr(unsafe.Pointer(&r.headers[0])), MaxBurst, unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN {
		r.waited = true

		return false
	}
	if errno == 0 { // Any other error is of one datagram, and the next call goes on behind it.
		r.received = int(n)
	}

	return true
}

// split fills the burst with what the last call returned and has not been handed on.
func (r *receiver) split() []Datagram {
	burst := r.burst[:0]
	for r.next < r.received {
		length := int(r.headers[r.next].length)
		segment, local := r.controls[r.next].read(int(r.headers[r.next].header.Controllen))
		if segment <= 0 {
			segment = length
		}
		from := source(&r.names[r.next])
		if length == 0 || segment > maxReceived {
			r.counters.datagramsDiscarded.Add(1)
			r.offset = length
		}
		for r.offset < length {
			if len(burst) == cap(burst) {
				return burst
			}
			end := min(r.offset+segment, length)
			burst = append(burst, Datagram{Payload: r.slots[r.next][r.offset:end:end], Source: from, Local: local})
			r.offset = end
		}
		r.next, r.offset = r.next+1, 0
	}

	return burst
}
