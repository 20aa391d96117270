package udp

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestDatagramsPassBetweenFamilies(t *testing.T) {
	four, every := listenTo(t, "127.0.0.1:0", 1, everything), listenTo(t, ":0", 1, everything)
	atFour, atEvery := make(chan arrived, 10), make(chan arrived, 10)
	serve(t, four, into(atFour))
	serve(t, every, into(atEvery))

	target := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), every.Addr().Port())
	mapped := netip.AddrPortFrom(netip.AddrFrom16(target.Addr().As16()), target.Port())
	for _, address := range []netip.AddrPort{target, mapped} {
		destination := four.Destination(address)
		if destination.AddrPort() != target {
			t.Errorf("destination %v became %v", address, destination.AddrPort())
		}
		flush(t, four, destination, "batch")
		if err := four.Send([]byte("send"), destination); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"batch", "send"} {
			if got := next(t, atEvery); got != (arrived{want, four.Addr()}) {
				t.Errorf("got %v, want %q from %v", got, want, four.Addr())
			}
		}
	}
	back := every.Destination(four.Addr())
	flush(t, every, back, "batch")
	if err := every.Send([]byte("send"), back); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"batch", "send"} {
		if got := next(t, atFour); got != (arrived{want, target}) {
			t.Errorf("got %v, want %q from %v", got, want, target)
		}
	}
}

// flush sends by a job, since the worker's batches are in use, and returns when the kernel has the datagram.
func flush(t *testing.T, socket *Socket, destination *Destination, payload string) {
	t.Helper()
	appended := make(chan struct{})
	socket.Post(0, job(func(batch *Batch) {
		copy(batch.Append(destination, len(payload)), payload)
		close(appended)
	}))
	next(t, appended)
	socket.Quiesce()
}

type job func(*Batch)

func (j job) Run(batch *Batch) { j(batch) }

func TestDatagramsPassOverIPv6(t *testing.T) {
	conn := plain(t, "udp6", "[::1]:0")
	for _, address := range []string{"[::1]:0", "[::]:0"} {
		socket := listenTo(t, address, 1, everything)
		received := make(chan arrived, 10)
		serve(t, socket, into(received))
		destination := socket.Destination(localAddress(conn))
		flush(t, socket, destination, "to")
		if got := read(t, conn); got != "to" {
			t.Errorf("read %q", got)
		}
		if err := socket.Send([]byte("too"), destination); err != nil || read(t, conn) != "too" {
			t.Errorf("send: %v", err)
		}
		target := netip.AddrPortFrom(netip.IPv6Loopback(), socket.Addr().Port())
		if _, err := conn.WriteToUDPAddrPort([]byte("fro"), target); err != nil {
			t.Fatal(err)
		}
		if got := next(t, received); got != (arrived{"fro", localAddress(conn)}) {
			t.Errorf("received %v", got)
		}
	}
}

func TestListenRefuses(t *testing.T) {
	taken, shared := listenTo(t, "127.0.0.1:0", 1, everything), listenTo(t, "127.0.0.1:0", 2, everything)
	tests := []struct {
		address string
		workers int
		want    string
	}{
		{"nonsense", 1, "give host:port"},
		{"127.0.0.1:99999", 1, "give host:port"},
		{taken.Addr().String(), 1, "is another media server running there?"},
		{taken.Addr().String(), 2, "is another media server running there?"},
		{shared.Addr().String(), 1, "is another media server running there?"},
		{shared.Addr().String(), 2, "is another media server running there?"},
		{"198.51.100.7:0", 1, "no interface of this machine has this address"},
		{"127.0.0.1:0", 0, "there must be 1 at least"},
	}
	for _, test := range tests {
		socket, err := Listen(test.address, test.workers)
		if err == nil {
			_ = socket.Close()
			t.Errorf("listens on %q with %d workers", test.address, test.workers)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %q does not say %q", err, test.want)
		}
	}
}

func TestWildcardFamilies(t *testing.T) {
	for _, workers := range []int{1, 2} {
		if address := listenTo(t, "0.0.0.0:0", workers, everything).Addr().Addr(); address != netip.IPv4Unspecified() {
			t.Errorf("0.0.0.0 listens on %v, which is not IPv4 alone", address)
		}
		for _, every := range []string{"[::]:0", ":0"} {
			if address := listenTo(t, every, workers, everything).Addr().Addr(); address != netip.IPv6Unspecified() {
				t.Errorf("%s listens on %v, which is not both families", every, address)
			}
		}
	}
}

func TestClose(t *testing.T) {
	idle := listenTo(t, "127.0.0.1:0", 2, everything)
	serve(t, idle, func(*Batch, []Datagram) {})
	if err := errors.Join(idle.Close(), idle.Close()); err != nil {
		t.Error(err)
	}

	// One that sends to itself from its receive function is never idle.
	busy := listenTo(t, "127.0.0.1:0", 1, everything)
	self := busy.Destination(busy.Addr())
	bursts := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		busy.Serve(func(batch *Batch, burst []Datagram) {
			for range min(MaxBurst, 2*len(burst)) {
				copy(batch.Append(self, 100), "again")
			}
			select {
			case bursts <- struct{}{}:
			default:
			}
		})
	}()
	if err := busy.Send([]byte("begin"), self); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		next(t, bursts)
	}
	if err := busy.Close(); err != nil {
		t.Error(err)
	}
	next(t, ended)
	if err := busy.Send([]byte("late"), self); !errors.Is(err, net.ErrClosed) {
		t.Errorf("send after Close: %v", err)
	}
	batch := busy.workers[0].reader
	before := busy.Stats().DatagramsRefused
	for range 3 {
		batch.Append(self, 10)
	}
	batch.Flush()
	if refused := busy.Stats().DatagramsRefused - before; refused != 3 {
		t.Errorf("%d datagrams refused after Close, want 3", refused)
	}
}

func TestUnusableDatagramsAreDiscarded(t *testing.T) {
	for _, wanted := range []offload{everything, {}} {
		socket := listenTo(t, "127.0.0.1:0", 1, wanted)
		received := make(chan arrived, 10)
		serve(t, socket, into(received))
		conn := plain(t, "udp4", "127.0.0.1:0")
		for _, size := range []int{0, maxReceived, maxReceived + 1, 60000, 1} {
			if _, err := conn.WriteToUDPAddrPort(make([]byte, size), socket.Addr()); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []int{maxReceived, 1} {
			if got := next(t, received); len(got.payload) != want {
				t.Errorf("received %d bytes, want %d", len(got.payload), want)
			}
		}
		if stats := socket.Stats(); stats.DatagramsDiscarded != 3 || stats.DatagramsReceived != 2 {
			t.Errorf("with %+v: %+v", wanted, stats)
		}
	}
}
