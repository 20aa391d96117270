package udp

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxMessages is the most messages in one call. With 16 to 512 a datagram costs the same: the call's own cost is spread
// over enough of them.
const maxMessages = 64

// sender takes the trains of a batch to the kernel: each as one message that the kernel, or the network card, splits
// into its datagrams (UDP_SEGMENT), and many messages in one call (sendmmsg).
type sender struct {
	raw      syscall.RawConn
	try      func(fd uintptr) // The methods attempt and awaited, made once: a method value is an allocation.
	wait     func(fd uintptr) bool
	counters *counters

	arena    []byte
	trains   []train
	position position // What comes into the next message.

	headers  [maxMessages]mmsghdr
	vectors  [maxMessages]unix.Iovec
	controls [maxMessages]controls
	joined   [maxMessages]bool // Whether the message is a train.
	origins  [maxMessages]position
	next     int // The first message that the kernel has not taken.
	filled   int // The number of messages.

	sent  int // What the last call has returned.
	errno unix.Errno
}

// position is a place among the trains of a batch.
type position struct {
	train  int
	offset int // In the arena.
}

func newCarrier(conn *net.UDPConn, counters *counters, segmentation bool) (carrier, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	// The size is given with each message; 0 sets none, but is refused by a kernel before 4.18.
	segmentation = segmentation && setOption(raw, unix.SOL_UDP, unix.UDP_SEGMENT, 0) == nil
	counters.segmentation.Store(segmentation)

	return newSender(raw, counters), nil
}

func newSender(raw syscall.RawConn, counters *counters) *sender {
	s := &sender{raw: raw, counters: counters}
	s.try, s.wait = s.attempt, s.awaited
	for i := range maxMessages {
		header := &s.headers[i].header
		header.Iov = &s.vectors[i]
		header.SetIovlen(1)
		s.controls[i].prepareSegment()
	}

	return s
}

func (s *sender) carry(arena []byte, trains []train) {
	s.arena, s.trains = arena, trains
	s.position = position{offset: trains[0].begin}
	for s.fill() {
		for s.next < s.filled {
			s.send()
		}
	}
}

// fill makes messages of what comes next, and says whether there is any.
func (s *sender) fill() bool {
	s.next, s.filled = 0, 0
	segmentation := s.counters.segmentation.Load()
	for s.filled < maxMessages && s.position.train < len(s.trains) {
		t := &s.trains[s.position.train]
		end := min(s.position.offset+t.segment, t.end)
		joined := end < t.end && segmentation && t.destination.raw.refusals.joins(t.segment)
		if joined {
			end = t.end
		}
		s.set(s.filled, t, end, joined)
		s.filled++
		s.position.offset = end
		if end == t.end {
			s.position.train++ // Which begins there.
		}
	}

	return s.filled > 0
}

// set makes a message of a train's datagrams from the position to end.
func (s *sender) set(number int, t *train, end int, joined bool) {
	s.origins[number] = s.position
	s.joined[number] = joined
	s.vectors[number].Base = &s.arena[s.position.offset]
	s.vectors[number].SetLen(end - s.position.offset)
	to := &t.destination.raw
	header := &s.headers[number].header
	header.Name = (*byte)(unsafe.Pointer(&to.name))
	header.Namelen = to.length
	switch {
	case joined:
		control := &s.controls[number]
		control.setSegment(t.segment)
		if to.sourceLength > 0 {
			copy(control[segmentSpace/wordBytes:], to.source[:])
		}
		header.Control = (*byte)(unsafe.Pointer(control))
		header.SetControllen(segmentSpace + to.sourceLength)
	case to.sourceLength > 0:
		header.Control = (*byte)(unsafe.Pointer(&to.source))
		header.SetControllen(to.sourceLength)
	default:
		header.SetControllen(0)
	}
}

// send has the kernel take as many of the messages as it will, and deals with the one at which it stops.
func (s *sender) send() {
	// Control, not Write, for Write excludes other senders during the call.
	err := s.raw.Control(s.try)
	if err == nil && s.errno == unix.EAGAIN {
		err = s.raw.Write(s.wait)
	}
	switch {
	case err != nil: // Closed.
		s.lose(s.filled)
	case s.errno == 0:
		s.count(true, s.sent)
	case s.errno == unix.EINTR:
	case s.joined[s.next] && s.unjoin():
		s.position, s.filled = s.origins[s.next], s.next
	default:
		// One datagram's error (an ICMP answer, a filter's refusal, no route) is no reason to keep the others.
		s.lose(s.next + 1)
	}
}

// attempt is one system call. It waits for nothing and takes as long as the batch is big, some tenths of a millisecond,
// so the runtime is not told of it, as in receiver.attempt: it would give the processor to another thread after 20 us,
// and have this one ask for it again behind each call.
func (s *sender) attempt(fd uintptr) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd,
		uintptr(unsafe.Pointer(&s.headers[s.next])), uintptr(s.filled-s.next), unix.MSG_DONTWAIT, 0, 0)
	s.sent, s.errno = int(n), errno
}

// awaited is what the runtime calls when the socket is writable; false makes it wait until it is so again.
func (s *sender) awaited(fd uintptr) bool {
	s.attempt(fd)

	return s.errno != unix.EAGAIN
}

// unjoin says whether the message, a train, was refused for being one, so that its datagrams are to be sent one by one.
// The kernel refuses segments longer than the MTU of the path (EINVAL or EMSGSIZE, by its version), and every train
// where the interface or IPsec on the way cannot segment (EIO): both are matters of this destination alone (refusals).
// So is what else may be said of trains (ENOPROTOOPT, EOPNOTSUPP), for whether the kernel can at all was asked at the
// start.
func (s *sender) unjoin() bool {
	t := &s.trains[s.origins[s.next].train]
	switch s.errno {
	case unix.EMSGSIZE, unix.EINVAL:
		t.destination.raw.refusals.refuse(t.segment)
	case unix.EIO, unix.ENOPROTOOPT, unix.EOPNOTSUPP:
		t.destination.raw.refusals.refuse(1)
	default:
		return false
	}

	return true
}

// count counts the next messages up to the given number of them as sent, or as lost, and passes them.
func (s *sender) count(sent bool, messages int) {
	datagrams := 0
	for i := range messages {
		if s.joined[s.next+i] {
			datagrams += s.trains[s.origins[s.next+i].train].datagrams()
		} else {
			datagrams++
		}
	}
	s.counters.count(sent, messages, datagrams)
	s.next += messages
}

// lose gives up the messages before end.
func (s *sender) lose(end int) { s.count(false, end-s.next) }
