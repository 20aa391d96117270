package bounds

import (
	"net"
	"sync"
)

// Listener has no more connections at a time than a crowd holds. Those beyond it are cut
// at once, and refused is told which bound was reached.
func Listener(inner net.Listener, crowd *Crowd, refused func(Reached)) net.Listener {
	return &listener{Listener: inner, crowd: crowd, refused: refused}
}

type listener struct {
	net.Listener
	crowd   *Crowd
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
		reached := l.crowd.Enter(from)
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
