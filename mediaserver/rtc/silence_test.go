package rtc

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// cable is a client's socket that can be cut, as by a network that is gone.
type cable struct {
	net.PacketConn
	cut atomic.Bool
}

func (w *cable) ReadFrom(datagram []byte) (int, net.Addr, error) {
	for {
		n, source, err := w.PacketConn.ReadFrom(datagram)
		if err != nil || !w.cut.Load() {
			return n, source, err
		}
	}
}

func (w *cable) WriteTo(datagram []byte, destination net.Addr) (int, error) {
	if w.cut.Load() {
		return len(datagram), nil
	}

	return w.PacketConn.WriteTo(datagram, destination)
}

// A client that vanishes without a word is noticed after the silence that is allowed, and not before.
func TestClientVanishes(t *testing.T) {
	const silence = 4 * time.Second
	socket, err := udp.Listen("127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := New(Config{Socket: socket, SilenceTimeout: silence})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	own := &cable{PacketConn: conn}
	mux := ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: own, Logger: loggers{quiet()}.NewLogger("wire")})
	t.Cleanup(func() { _ = mux.Close() })

	c := newConnection(t, engine, true)
	c.client = newClientOn(t, mux, true, true)
	negotiate(t, c.peer, c.client)
	within(t, "connection", c.connected)
	within(t, "connection at the client", c.client.connected)
	begin := time.Now()
	own.cut.Store(true)
	if err := within(t, "OnClosed", c.closed); !errors.Is(err, ErrICEFailed) {
		t.Errorf("closed with %v", err)
	}
	// What the client sent last may be up to its interval of 2 s before the cut.
	if took := time.Since(begin); took < silence-3*time.Second {
		t.Errorf("given up after %v, %v are allowed", took, silence)
	}
}
