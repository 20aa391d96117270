package udp

import (
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// echo answers each datagram on the path that it came on, in every way there is to send: as it came, as a train, and at
// once.
func echo(t *testing.T, socket *Socket, locals chan<- netip.Addr) func(*Batch, []Datagram) {
	return func(batch *Batch, burst []Datagram) {
		for i := range burst {
			locals <- burst[i].Local
			back := socket.DestinationOn(burst[i].Path())
			if back.Path() != burst[i].Path() {
				t.Errorf("prepared %v for %v", back.Path(), burst[i].Path())
			}
			copy(batch.Append(back, 6), "single")
			batch.Flush()
			for range 3 {
				copy(batch.Append(back, 5), "train")
			}
			batch.Flush()
			if err := socket.Send([]byte("send"), back); err != nil {
				t.Errorf("send: %v", err)
			}
		}
	}
}

// A socket of many addresses answers from the one that it was asked at, in every way that it sends; one that is bound
// to one address need not be told.
func TestAnswersLeaveFromTheAddressThatWasAsked(t *testing.T) {
	four := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	for listened, asked := range map[string][]string{
		"0.0.0.0:0": four,
		"[::]:0":    append(four, "::1"),
		// These two are not told, and need not be.
		"127.0.0.2:0": {"127.0.0.2"},
		"[::1]:0":     {"::1"},
	} {
		for _, wanted := range []offload{everything, {}} {
			socket := listenTo(t, listened, 1, wanted)
			many := socket.Addr().Addr().IsUnspecified()
			locals := make(chan netip.Addr, 10)
			serve(t, socket, echo(t, socket, locals))
			for _, address := range asked {
				at := netip.AddrPortFrom(netip.MustParseAddr(address), socket.Addr().Port())
				network, near := "udp4", "127.0.0.1:0"
				if at.Addr().Is6() {
					network, near = "udp6", "[::1]:0"
				}
				conn := plain(t, network, near)
				if _, err := conn.WriteToUDPAddrPort([]byte("ask"), at); err != nil {
					t.Fatal(err)
				}
				want := netip.Addr{}
				if many {
					want = at.Addr()
				}
				if local := next(t, locals); local != want {
					t.Errorf("on %s, asked at %v: it arrived at %v, want %v", listened, at, local, want)
				}
				buffer := make([]byte, 100)
				for _, want := range []string{"single", "train", "train", "train", "send"} {
					n, from, err := conn.ReadFromUDPAddrPort(buffer)
					if err != nil {
						t.Fatal(err)
					}
					if got := string(buffer[:n]); got != want || unmapped(from) != at {
						t.Errorf("on %s, asked at %v: %q from %v, want %q", listened, at, got, from, want)
					}
				}
			}
			socket.Quiesce() // What has left is counted thereafter.
			if stats := socket.Stats(); stats.Segmentation && stats.MessagesSent != uint64(3*len(asked)) {
				t.Errorf("on %s %d messages for %d times a train of 1, of 3 and of 1", listened, stats.MessagesSent, len(asked))
			}
		}
	}
}

// An address that is ours no more loses its datagrams, and nobody else's.
func TestAnAddressThatIsNotOursIsRefused(t *testing.T) {
	socket := listenTo(t, "0.0.0.0:0", 1, everything)
	conn := plain(t, "udp4", "127.0.0.1:0")
	good := socket.Destination(localAddress(conn))
	bad := socket.DestinationOn(Path{Remote: localAddress(conn), Local: netip.MustParseAddr("192.0.2.77")})
	batch := socket.workers[0].reader
	for _, destination := range []*Destination{bad, good, bad} {
		for range 3 {
			copy(batch.Append(destination, 4), "good")
		}
	}
	batch.Flush()
	for range 3 {
		if got := read(t, conn); got != "good" {
			t.Errorf("read %q", got)
		}
	}
	if stats := socket.Stats(); stats.DatagramsSent != 3 || stats.DatagramsRefused != 6 {
		t.Errorf("counted %+v", stats)
	}
	if err := socket.Send([]byte("x"), bad); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("sending from an address that is not ours: %v", err)
	}
}

// What the kernel says is read in any order, and never beyond its end.
func TestControlMessagesAreRead(t *testing.T) {
	var c controls
	gro := func(offset, size int) int {
		header := c.header(offset)
		header.Level, header.Type = unix.SOL_UDP, unix.UDP_GRO
		header.SetLen(unix.CmsgLen(4))
		binary.NativeEndian.PutUint32(unsafe.Slice((*byte)(c.data(offset)), 4), uint32(size))

		return unix.CmsgSpace(4)
	}
	local := netip.MustParseAddr("2001:db8::1")
	length := c.setSource(local, false)
	length += gro(length, 1200)
	check := func(length, wantSegment int, wantLocal netip.Addr) {
		t.Helper()
		if segment, local := c.read(length); segment != wantSegment || local != wantLocal {
			t.Errorf("%d bytes say %d and %v, want %d and %v", length, segment, local, wantSegment, wantLocal)
		}
	}
	check(length, 1200, local)
	check(length-8, 0, local)
	check(1000, 1200, local) // The kernel never says so much.
	check(unix.CmsgLen(0)-1, 0, netip.Addr{})
	check(0, 0, netip.Addr{})
	c.header(0).SetLen(unix.CmsgLen(0) - 1)
	check(length, 0, netip.Addr{})
	c.header(0).SetLen(math.MaxInt)
	check(length, 0, netip.Addr{})

	c = controls{}
	length = c.setSource(netip.MustParseAddr("192.0.2.1"), true)
	check(length, 0, netip.MustParseAddr("192.0.2.1"))
	length = c.setSource(netip.MustParseAddr("192.0.2.1"), false)
	check(length, 0, netip.MustParseAddr("192.0.2.1"))
}
