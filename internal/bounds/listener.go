package bounds

import (
	"net"
	"net/netip"
	"sync"
)

// Listener has no more connections at a time than a crowd holds. Those beyond it are cut
// at once, and refused is told which bound was reached.
func Listener(inner net.Listener, crowd *Crowd, refused func(Reached)) net.Listener {
	return ListenerFor(inner, crowd, func(netip.Prefix) bool { return false }, refused)
}

// ListenerFor is a Listener that has no bound for the networks that are known, but the one of
// all.
func ListenerFor(
	inner net.Listener, crowd *Crowd, known func(netip.Prefix) bool, refused func(Reached),
) net.Listener {
	return &listener{Listener: inner, crowd: crowd, known: known, refused: refused}
}

type listener struct {
	net.Listener
	crowd   *Crowd
	known   func(netip.Prefix) bool
	refused func(Reached)
}

// Accept waits for a connection within the bounds.
func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := NetworkOf(inner.RemoteAddr().String())
		enter := l.crowd.Enter
		if l.known(from) {
			enter = l.crowd.EnterKnown
		}
		reached := enter(from)
		if reached == None {
			return &conn{Conn: inner, leave: sync.OnceFunc(func() { l.crowd.Leave(from) })}, nil
		}
		l.refused(reached)
		_ = inner.Close()
	}
}

type conn struct {
	net.Conn
	leave func()
}

// Close ends the connection and gives its place to others.
func (c *conn) Close() error {
	defer c.leave()

	return c.Conn.Close()
}
