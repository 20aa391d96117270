package udp

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ net.PacketConn           = (*Socket)(nil)
	_ ice.AddrPortReaderWriter = (*Socket)(nil)
)

func listen(t *testing.T, address string) *Socket {
	t.Helper()
	socket, err := Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	if err := socket.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}

	return socket
}

func TestDatagramsPassBetweenFamilies(t *testing.T) {
	four, every := listen(t, "127.0.0.1:0"), listen(t, ":0")
	target := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), every.Addr().Port())
	if _, err := four.WriteToAddrPort([]byte("to"), target); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	n, source, err := every.ReadFromAddrPort(buffer)
	if err != nil || string(buffer[:n]) != "to" || source != four.Addr() {
		t.Fatalf("read %q from %v: %v", buffer[:n], source, err)
	}
	if _, err := every.WriteTo([]byte("fro"), net.UDPAddrFromAddrPort(source)); err != nil {
		t.Fatal(err)
	}
	n, from, err := four.ReadFrom(buffer)
	if err != nil || string(buffer[:n]) != "fro" || from.String() != target.String() {
		t.Fatalf("read %q from %v: %v", buffer[:n], from, err)
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(target.Addr().As16()), target.Port())
	if _, err := four.WriteToAddrPort([]byte("to"), mapped); err != nil {
		t.Errorf("write to an IPv4-mapped address: %v", err)
	}
}

func TestCloseEndsARead(t *testing.T) {
	socket := listen(t, "127.0.0.1:0")
	ended := make(chan error)
	go func() {
		_, _, err := socket.ReadFromAddrPort(make([]byte, 10))
		ended <- err
	}()
	if err := errors.Join(socket.Close(), socket.Close()); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read ended with %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	taken := listen(t, "127.0.0.1:0")
	for _, address := range []string{"nonsense", "127.0.0.1:99999", taken.Addr().String()} {
		if socket, err := Listen(address); err == nil {
			_ = socket.Close()
			t.Errorf("listens on %q", address)
		}
	}
}

func TestWildcardFamilies(t *testing.T) {
	if address := listen(t, "0.0.0.0:0").Addr().Addr(); address != netip.IPv4Unspecified() {
		t.Errorf("0.0.0.0 listens on %v, which is not IPv4 alone", address)
	}
	if address := listen(t, "[::]:0").Addr().Addr(); address != netip.IPv6Unspecified() {
		t.Errorf("[::] listens on %v, which is not both families", address)
	}
}
