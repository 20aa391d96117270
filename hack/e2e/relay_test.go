package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// relay passes TCP connections on to a target that may change, and can stop
// passing anything while it keeps all connections open: what is on the way waits,
// a goodbye too, as behind a network that drops packets.
type relay struct {
	listener net.Listener
	loops    sync.WaitGroup

	mu     sync.Mutex
	target string
	gate   chan struct{} // Closed while anything passes.
	delay  time.Duration // Of what passes, at least.
	conns  map[net.Conn]struct{}
	closed bool
}

// newRelay listens on a free port of loopback. Until it has a target, connections
// to it end at once.
func newRelay() (*relay, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a relay: %w", err)
	}
	r := &relay{listener: listener, gate: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(r.gate)
	r.loops.Go(r.accept)

	return r, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

// to directs connections to come to another address.
func (r *relay) to(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

// hold stops passing anything. New connections are accepted and lead nowhere.
func (r *relay) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.gate:
		r.gate = make(chan struct{})
	default: // Held already, and somebody waits for that gate.
	}
}

// cut ends every connection, and those to come at once, until there is a target again.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = ""
	for conn := range r.conns {
		_ = conn.Close()
	}
}

// slow delays what passes, either way, from now on. What comes during a delay waits
// for it and goes together.
func (r *relay) slow(delay time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = delay
}

// linger waits for as long as what passes is delayed.
func (r *relay) linger() {
	r.mu.Lock()
	delay := r.delay
	r.mu.Unlock()
	if delay == 0 {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	<-timer.C
}

// held tells whether nothing passes.
func (r *relay) held() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.gate:
		return false
	default:
		return true
	}
}

// pass passes everything again, what was held first.
func (r *relay) pass() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.gate:
	default:
		close(r.gate)
	}
}

// close ends every connection and waits for all that the relay runs.
func (r *relay) close() error {
	r.mu.Lock()
	r.closed = true
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.pass()
	err := r.listener.Close()
	r.loops.Wait()

	return err
}

func (r *relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return // Closed.
		}
		if r.keep(near) {
			r.loops.Go(func() { r.carry(near) })
		}
	}
}

// keep notes a connection, so that close ends it.
func (r *relay) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = conn.Close()

		return false
	}
	r.conns[conn] = struct{}{}

	return true
}

func (r *relay) forget(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
	_ = conn.Close()
}

// opened waits until something may pass, and returns the target then.
func (r *relay) opened() string {
	for {
		r.mu.Lock()
		gate, target := r.gate, r.target
		r.mu.Unlock()
		select {
		case <-gate:
			return target
		default:
			<-gate
		}
	}
}

func (r *relay) carry(near net.Conn) {
	defer r.forget(near)
	far, err := new(net.Dialer).DialContext(context.Background(), "tcp", r.opened())
	if err != nil {
		return // Nobody listens there now: the other side sees its connection end.
	}
	if !r.keep(far) {
		return
	}
	defer r.forget(far)
	var back sync.WaitGroup
	back.Go(func() { r.pump(near, far) })
	r.pump(far, near)
	back.Wait()
}

// pump passes bytes one way until either side ends, and then ends that way.
func (r *relay) pump(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		r.linger()
		r.opened()
		if n > 0 {
			if _, writeErr := to.Write(buffer[:n]); writeErr != nil {
				_ = from.Close()

				return
			}
		}
		if err == nil {
			continue
		}
		if tcp, ok := to.(*net.TCPConn); ok && errors.Is(err, io.EOF) {
			_ = tcp.CloseWrite()

			return
		}
		_ = to.Close()

		return
	}
}
