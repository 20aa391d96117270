package udp

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

var everything = offload{segmentation: true, coalescing: true}

func listenTo(t testing.TB, address string, workers int, wanted offload) *Socket {
	t.Helper()
	socket, err := listen(address, workers, wanted)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })

	return socket
}

// serve serves the socket until the test ends.
func serve(t testing.TB, socket *Socket, receive func(*Batch, []Datagram)) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		socket.Serve(receive)
	}()
	t.Cleanup(func() {
		_ = socket.Close()
		<-ended
	})
}

// arrived is a datagram that the test may keep.
type arrived struct {
	payload string
	source  netip.AddrPort
}

// into is a receive function that sends copies of the datagrams to a channel.
func into(channel chan<- arrived) func(*Batch, []Datagram) {
	return func(_ *Batch, burst []Datagram) {
		for _, datagram := range burst {
			channel <- arrived{string(datagram.Payload), datagram.Source}
		}
	}
}

func next[T any](t testing.TB, channel <-chan T) T {
	t.Helper()
	select {
	case value := <-channel:
		return value
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

// plain is a socket of another program.
func plain(t testing.TB, network, address string) *net.UDPConn {
	t.Helper()
	local, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP(network, local)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadBuffer(bufferBytes)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}

	return conn
}

func read(t testing.TB, conn *net.UDPConn) string {
	t.Helper()
	buffer := make([]byte, 65536)
	n, _, err := conn.ReadFromUDPAddrPort(buffer)
	if err != nil {
		t.Fatal(err)
	}

	return string(buffer[:n])
}
