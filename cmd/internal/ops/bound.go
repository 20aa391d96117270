package ops

import (
	"net"
	"net/netip"
	"sync"
)

// Bound makes a listener with so many connections at a time at most, in all and from
// one network: an IPv4 address, or a /64 of IPv6, which is what a single machine is
// given (RFC 6177). Those beyond it are cut at once, and refused is told the bound,
// "all" or "address": a client that says nothing costs a server without a bound memory
// that it cannot refuse.
func Bound(listener net.Listener, most, mostPerAddress int, refused func(bound string)) net.Listener {
	return &boundedListener{
		Listener: listener, most: most, mostPerAddress: mostPerAddress, refused: refused,
		byNetwork: make(map[netip.Prefix]int),
	}
}

type boundedListener struct {
	net.Listener
	most, mostPerAddress int
	refused              func(bound string)

	mu        sync.Mutex
	all       int
	byNetwork map[netip.Prefix]int
}

// Accept waits for a connection within the bounds.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := networkOf(conn.RemoteAddr())
		reached := l.enter(from)
		if reached == "" {
			return &boundedConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		l.refused(reached)
		_ = conn.Close()
	}
}

// enter counts one more connection, or returns the bound that is reached.
func (l *boundedListener) enter(from netip.Prefix) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.all >= l.most:
		return "all"
	case l.byNetwork[from] >= l.mostPerAddress:
		return "address"
	}
	l.all++
	l.byNetwork[from]++

	return ""
}

func (l *boundedListener) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.byNetwork[from]--; l.byNetwork[from] == 0 {
		delete(l.byNetwork, from)
	}
}

type boundedConn struct {
	net.Conn
	leave func()
}

// Close ends the connection and gives its place to others.
func (c *boundedConn) Close() error {
	defer c.leave()

	return c.Conn.Close()
}

func networkOf(address net.Addr) netip.Prefix {
	parsed, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := parsed.Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 32
	}

	return netip.PrefixFrom(ip, bits).Masked()
}
