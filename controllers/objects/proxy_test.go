package objects

import (
	"net"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// proxy stands between a store and the API server. It can cut connections, and it
// can become half-open: connections stay, and what is sent on them is lost.
type proxy struct {
	to     string
	config *rest.Config
	work   sync.WaitGroup
	mu     sync.Mutex
	frozen bool
	refuse bool
	ended  bool
	open   map[net.Conn]bool
	opened int
}

func newProxy(t *testing.T, c *cluster) *proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: c.address.Address().String(), config: rest.CopyConfig(c.config), open: map[net.Conn]bool{}}
	p.config.Host = "https://" + listener.Addr().String()
	p.work.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		p.cut()
		p.work.Wait()
	})

	return p
}

// cut closes every connection there is.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
	}
}

// freeze loses what connections carry, those to come included.
func (p *proxy) freeze(frozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = frozen
}

// refuses closes every connection, those to come at once.
func (p *proxy) refuses(refuse bool) {
	p.mu.Lock()
	p.refuse = refuse
	p.mu.Unlock()
	if refuse {
		p.cut()
	}
}

func (p *proxy) loses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.frozen
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	if p.ended || p.refuse {
		p.mu.Unlock()

		return
	}
	p.open[client], p.open[server] = true, true
	p.opened++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, client)
		delete(p.open, server)
	}()
	var ways sync.WaitGroup
	pass := func(to, from net.Conn) {
		buffer := make([]byte, 64<<10)
		lost := false // What was lost once makes the rest useless.
		for {
			n, err := from.Read(buffer)
			if err != nil {
				break
			}
			if lost = lost || p.loses(); lost {
				continue
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				break
			}
		}
		_ = to.Close()
		_ = from.Close()
	}
	ways.Go(func() { pass(server, client) })
	pass(client, server)
	ways.Wait()
}
