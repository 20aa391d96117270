package rtc

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// relay stands between one client and the server, as a NAT does: the server sees the relay's ports.
type relay struct {
	t      *testing.T
	near   *net.UDPConn // The client's side.
	server netip.AddrPort

	mu      sync.Mutex
	client  netip.AddrPort
	far     []*net.UDPConn // The server's side: the last is the one that is sent from.
	each    bool           // Each packet is sent from a port of its own.
	ended   bool           // Nothing is opened any more.
	running sync.WaitGroup
}

// newRelayed is an engine that announces a relay, and the relay.
func newRelayed(t *testing.T, config Config) (*Engine, *relay) {
	t.Helper()
	socket, err := udp.Listen("127.0.0.1:0", 2)
	must(t, err)
	r := &relay{t: t, near: loopback(t), server: socket.Addr()}
	config.Socket = socket
	config.PublicAddresses = []netip.AddrPort{r.near.LocalAddr().(*net.UDPAddr).AddrPort()}
	engine, err := New(config)
	must(t, err)
	r.rebind()
	r.running.Go(r.up)
	t.Cleanup(func() {
		must(t, engine.Close())
		r.mu.Lock()
		r.ended = true
		for _, conn := range append(r.far, r.near) {
			_ = conn.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})

	return engine, r
}

func loopback(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)

	return conn
}

// rebind gives the client another port at the server's side, and returns it. What the server still sends to the former
// ones arrives.
func (r *relay) rebind() netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.rebindLocked()
}

func (r *relay) rebindLocked() netip.AddrPort {
	conn := loopback(r.t)
	r.far = append(r.far, conn)
	r.running.Go(func() { r.down(conn) })

	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// rebindEach gives each packet another port from now on.
func (r *relay) rebindEach() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.each = true
}

func (r *relay) up() {
	buffer := make([]byte, 2000)
	for {
		n, from, err := r.near.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.client = from
		if r.each && !r.ended {
			r.rebindLocked()
		}
		_, _ = r.far[len(r.far)-1].WriteToUDPAddrPort(buffer[:n], r.server)
		r.mu.Unlock()
	}
}

func (r *relay) down(conn *net.UDPConn) {
	buffer := make([]byte, 2000)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		r.mu.Lock()
		client := r.client
		r.mu.Unlock()
		_, _ = r.near.WriteToUDPAddrPort(buffer[:n], client)
	}
}
