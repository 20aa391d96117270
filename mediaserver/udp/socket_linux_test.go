package udp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel segments no datagrams of a socket that makes no checksums (EINVAL), which stands here for a path whose MTU
// is smaller than the segments: its refusal is the same.
func TestRefusedRunsAreSentOneByOne(t *testing.T) {
	from := listenTo(t, "127.0.0.1:0", 1, everything)
	if !from.Stats().Segmentation {
		t.Skip("this kernel has no UDP_SEGMENT")
	}
	raw, err := from.workers[0].conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := setOption(raw, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Fatal(err)
	}
	conn := plain(t, "udp4", "127.0.0.1:0")
	destination := from.Destination(localAddress(conn))
	batch := from.workers[0].reader
	transmitOne := func(size, count int) (calls, messages uint64) {
		before := from.Stats()
		for number := range count {
			batch.Append(destination, size)[0] = byte(number)
		}
		batch.Flush()
		for number := range count {
			if got := read(t, conn); len(got) != size || got[0] != byte(number) {
				t.Errorf("datagram %d: %d bytes, number %d", number, len(got), got[0])
			}
		}
		after := from.Stats()
		if after.DatagramsRefused != 0 || after.DatagramsSent-before.DatagramsSent != uint64(count) {
			t.Errorf("%d of size %d counted as %+v", count, size, after)
		}

		return after.SendCalls - before.SendCalls, after.MessagesSent - before.MessagesSent
	}
	if _, messages := transmitOne(1000, 10); messages != 10 {
		t.Errorf("refused train: %d messages", messages)
	}
	if calls, messages := transmitOne(1200, 10); calls != 1 || messages != 10 {
		t.Errorf("a train of larger ones is tried again: %d calls, %d messages", calls, messages)
	}
	refusals := &destination.raw.refusals
	if refusals.joins(1000) || !refusals.joins(999) {
		t.Error("segments of 1,000 bytes were refused, no smaller ones")
	}

	if err := setOption(raw, unix.SOL_SOCKET, unix.SO_NO_CHECK, 0); err != nil {
		t.Fatal(err)
	}
	if _, messages := transmitOne(500, 10); messages != 1 {
		t.Errorf("a train of smaller ones took %d messages", messages)
	}
	if _, messages := transmitOne(1200, 10); messages != 10 {
		t.Errorf("a train that was refused took %d messages, and is to wait", messages)
	}
	refusals.last.Add(-int64(refusalHold))
	if _, messages := transmitOne(1200, 10); messages != 1 {
		t.Errorf("after the wait a train takes %d messages", messages)
	}
}

// One destination's refusal costs no other one its trains, and it has a way back.
func TestRefusalsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r, other refusals
		r.refuse(1000)
		time.Sleep(refusalHold / 2)
		r.refuse(500)
		r.refuse(700)
		joins := func(want ...int) {
			t.Helper()
			for _, segment := range []int{1, 499, 500, 1000, MaxDatagram} {
				if got := r.joins(segment); got != slices.Contains(want, segment) {
					t.Errorf("trains of %d bytes join: %v", segment, got)
				}
				if !other.joins(segment) {
					t.Error("another destination has lost its trains")
				}
			}
		}
		time.Sleep(refusalHold - 1)
		joins(1, 499)
		time.Sleep(time.Nanosecond)
		joins(1, 499, 500, 1000, MaxDatagram)
		r.refuse(1) // As when the interface cannot segment: nothing joins.
		time.Sleep(refusalHold - 1)
		joins()
		time.Sleep(time.Nanosecond)
		joins(1, 499, 500, 1000, MaxDatagram)
	})
}

func TestWhatRefusalsMean(t *testing.T) {
	const none, larger, all = "lost", "no trains as large", "no trains"
	for errno, want := range map[unix.Errno]string{
		unix.EMSGSIZE:     larger,
		unix.EINVAL:       larger,
		unix.EIO:          all,
		unix.ENOPROTOOPT:  all,
		unix.EOPNOTSUPP:   all,
		unix.EPERM:        none,
		unix.ECONNREFUSED: none,
		unix.ENOBUFS:      none,
		unix.ENETUNREACH:  none,
	} {
		destination, other := &Destination{}, &Destination{}
		s := &sender{counters: &counters{}, errno: errno, trains: []train{{destination: destination, end: 20, segment: 10}}}
		s.counters.segmentation.Store(true)
		got := none
		again := s.unjoin()
		switch refusals := &destination.raw.refusals; {
		case !refusals.joins(1):
			got = all
		case !refusals.joins(10) && refusals.joins(9):
			got = larger
		}
		if got != want || again != (want != none) {
			t.Errorf("%v: %s, sent again %v; want %s", errno, got, again, want)
		}
		if !other.raw.refusals.joins(10) || !s.counters.segmentation.Load() {
			t.Errorf("%v costs other destinations their trains", errno)
		}
	}
}

func TestRawAddresses(t *testing.T) {
	for _, test := range []struct {
		address, want string
		ipv4          bool
	}{
		{"192.0.2.1:5004", "192.0.2.1:5004", true},
		{"192.0.2.1:5004", "192.0.2.1:5004", false},
		{"[2001:db8::1]:65535", "[2001:db8::1]:65535", false},
		{"[fe80::1%7]:1", "[fe80::1%7]:1", false},
		{"[fe80::1%lo]:1", "[fe80::1%1]:1", false},
		{"[fe80::1%nonsense]:1", "[fe80::1]:1", false},
	} {
		var raw rawDestination
		raw.set(Path{Remote: netip.MustParseAddrPort(test.address)}, test.ipv4)
		if got := source(&raw.name).String(); got != test.want {
			t.Errorf("%s came back as %s, want %s", test.address, got, test.want)
		}
		if family := raw.name.Family; (family == unix.AF_INET) != test.ipv4 {
			t.Errorf("%s has family %d", test.address, family)
		}
	}
}

// A UDP socket's buffer is never full over loopback, where datagrams are the receiver's at once. A local socket's is,
// so one stands here for a slow network.
func TestSendingWaitsForRoom(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(ends[0]), "near"), os.NewFile(uintptr(ends[1]), "far")
	defer near.Close()
	defer far.Close()
	raw, err := near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	sender := newSender(raw, &counters{})
	batch := newBatch(0, sender)
	count := 0
	for {
		memory := batch.Append(&Destination{}, MaxDatagram)
		if memory == nil {
			break
		}
		binary.BigEndian.PutUint32(memory, uint32(count))
		count++
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		batch.Flush()
	}()
	buffer := make([]byte, MaxDatagram)
	for want := range count {
		if n, err := far.Read(buffer); n != MaxDatagram || err != nil {
			t.Fatalf("read %d bytes: %v", n, err)
		}
		if got := binary.BigEndian.Uint32(buffer); got != uint32(want) {
			t.Fatalf("read datagram %d, want %d", got, want)
		}
	}
	next(t, sent)
	if c := sender.counters; c.datagramsSent.Load() != uint64(count) || c.datagramsRefused.Load() != 0 {
		t.Errorf("of %d datagrams %d were sent, %d refused", count, c.datagramsSent.Load(), c.datagramsRefused.Load())
	}
}
