package udp

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// traffic is datagrams of every kind of train to the given number of receivers, in the order of sending.
func traffic(receivers int) (payloads []string, to []int) {
	random := rand.New(rand.NewPCG(3, 4))
	add := func(receiver, size int) {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		payloads, to = append(payloads, string(payload)), append(to, receiver)
	}
	for range 3 {
		for receiver := range receivers {
			for range 20 { // Equal, then a smaller one.
				add(receiver, 1128)
			}
			add(receiver, 500)
			for i := range 6 { // As a frame is cut: off by one.
				add(receiver, 1100-i/3)
			}
			for range maxSegments + 3 { // Audio, longer than a train.
				add(receiver, 80)
			}
			for range 5 {
				add(receiver, 1+random.IntN(MaxDatagram))
			}
			add(receiver, MaxDatagram)
			add(receiver, 1)
		}
	}
	for range 200 {
		add(random.IntN(receivers), 1+random.IntN(4))
	}

	return payloads, to
}

// transmit sends the traffic in one batch with flushes where it is full, and compares what arrives.
func transmit(t *testing.T, from *Socket, addresses []netip.AddrPort, receive func(receiver int) string) {
	t.Helper()
	payloads, to := traffic(len(addresses))
	destinations := make([]*Destination, len(addresses))
	for i, address := range addresses {
		destinations[i] = from.Destination(address)
	}
	want := make([][]string, len(addresses))
	batch := from.workers[0].reader
	flushes := 0
	for i, payload := range payloads {
		memory := batch.Append(destinations[to[i]], len(payload))
		if memory == nil {
			batch.Flush()
			flushes++
			memory = batch.Append(destinations[to[i]], len(payload))
		}
		copy(memory, payload)
		want[to[i]] = append(want[to[i]], payload)
	}
	batch.Flush()
	if flushes == 0 {
		t.Error("the traffic filled no batch")
	}
	for receiver, expected := range want {
		got := make([]string, 0, len(expected))
		for range expected {
			got = append(got, receive(receiver))
		}
		if !slices.Equal(got, expected) {
			t.Errorf("receiver %d got other datagrams: %s", receiver, cmp.Diff(sizes(expected), sizes(got)))
		}
	}
	stats := from.Stats()
	if stats.DatagramsSent != uint64(len(payloads)) || stats.DatagramsRefused != 0 {
		t.Errorf("counted %+v for %d datagrams", stats, len(payloads))
	}
	if trains := stats.MessagesSent < stats.DatagramsSent/2; trains != stats.Segmentation {
		t.Errorf("trains were sent as one message: %v, of counts %+v", trains, stats)
	}
}

func sizes(payloads []string) []int {
	result := make([]int, len(payloads))
	for i, payload := range payloads {
		result[i] = len(payload)
	}

	return result
}

func TestBatchesReachOtherPrograms(t *testing.T) {
	for _, wanted := range []offload{everything, {}} {
		for _, loopback := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(fmt.Sprintf("%s %+v", loopback, wanted), func(t *testing.T) {
				conns := make([]*net.UDPConn, 3)
				addresses := make([]netip.AddrPort, len(conns))
				for i := range conns {
					conns[i] = plain(t, "udp", loopback)
					addresses[i] = localAddress(conns[i])
				}
				from := listenTo(t, loopback, 1, wanted)
				transmit(t, from, addresses, func(i int) string { return read(t, conns[i]) })
			})
		}
	}
}

func TestBatchesReachOurOwnSockets(t *testing.T) {
	for _, receiving := range []offload{everything, {}} {
		for _, sending := range []offload{everything, {}} {
			t.Run(fmt.Sprintf("from %+v to %+v", sending, receiving), func(t *testing.T) {
				const receivers = 3
				var addresses []netip.AddrPort
				var channels []chan arrived
				var sockets []*Socket
				from := listenTo(t, "127.0.0.1:0", 1, sending)
				for range receivers {
					socket := listenTo(t, "127.0.0.1:0", 1, receiving)
					channel := make(chan arrived, 1000)
					serve(t, socket, func(batch *Batch, burst []Datagram) {
						if len(burst) < 1 || len(burst) > MaxBurst {
							t.Errorf("a burst of %d", len(burst))
						}
						into(channel)(batch, burst)
						for _, datagram := range burst { // May be changed, and must not reach into the next one.
							clear(append(datagram.Payload, 1, 2, 3))
						}
					})
					addresses, sockets = append(addresses, socket.Addr()), append(sockets, socket)
					channels = append(channels, channel)
				}
				transmit(t, from, addresses, func(receiver int) string {
					got := next(t, channels[receiver])
					if got.source != from.Addr() {
						t.Errorf("from %v, want %v", got.source, from.Addr())
					}

					return got.payload
				})
				for _, socket := range sockets {
					if got := socket.Stats(); got.DatagramsReceived < got.ReceiveCalls || got.DatagramsDiscarded != 0 {
						t.Errorf("counted %+v", got)
					}
				}
			})
		}
	}
}

func TestOneRefusedDatagramDoesNotStopTheRest(t *testing.T) {
	for _, wanted := range []offload{everything, {}} {
		socket := listenTo(t, "127.0.0.1:0", 1, wanted)
		conn := plain(t, "udp4", "127.0.0.1:0")
		good := socket.Destination(localAddress(conn))
		bad := []*Destination{
			socket.Destination(netip.MustParseAddrPort("127.0.0.1:0")),
			socket.Destination(netip.MustParseAddrPort("[::1]:9")), // Not of the socket's family.
		}
		batch := socket.workers[0].reader
		for _, destination := range []*Destination{bad[0], good, bad[1], bad[0], good, bad[1]} {
			for range 3 {
				copy(batch.Append(destination, 4), "good")
			}
		}
		batch.Flush()
		for range 6 {
			if got := read(t, conn); got != "good" {
				t.Errorf("read %q", got)
			}
		}
		if stats := socket.Stats(); stats.DatagramsSent != 6 || stats.DatagramsRefused != 12 {
			t.Errorf("with %+v counted %+v", wanted, stats)
		}
		if err := socket.Send([]byte("x"), bad[0]); err == nil {
			t.Error("a datagram to port 0 was sent")
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} { // The last two tell of the local address.
		for _, segmentation := range []bool{true, false} {
			if allocations := allocationsOfABurst(t, address, segmentation); allocations != 0 {
				t.Errorf("%v allocations for each burst on %s with segmentation %v", allocations, address, segmentation)
			}
		}
	}
}

// allocationsOfABurst sends and receives a burst in every way there is.
func allocationsOfABurst(t *testing.T, address string, segmentation bool) float64 {
	t.Helper()
	socket := listenTo(t, address, 1, everything)
	from := listenTo(t, address, 1, offload{segmentation: segmentation})
	path := Path{Remote: socket.Addr()}
	if socket.Addr().Addr().IsUnspecified() {
		path.Local = netip.MustParseAddr("127.0.0.1")
		path.Remote = netip.AddrPortFrom(path.Local, socket.Addr().Port())
	}
	destination := from.DestinationOn(path)
	worker, batch := socket.workers[0], from.workers[0].reader
	empty := job(func(*Batch) {})

	return testing.AllocsPerRun(100, func() {
		batch.begin()
		for range MaxBurst {
			batch.Room(1)
			batch.Append(destination, 1128)[0] = 1
		}
		batch.end()
		if err := from.Send([]byte{1}, destination); err != nil {
			t.Error(err)
		}
		for left := MaxBurst + 1; left > 0; {
			burst, err := worker.receiver.receive()
			if err != nil {
				t.Fatal(err)
			}
			left -= len(burst)
		}
		from.Post(0, empty)
		(<-from.workers[0].jobs).Run(batch)
	})
}
