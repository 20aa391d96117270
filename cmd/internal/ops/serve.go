package ops

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	// shutdownTimeout bounds how long requests in flight may hold up the end.
	shutdownTimeout = 5 * time.Second
	// readHeaderTimeout keeps a client that sends nothing from occupying a connection.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is how long a kept-alive connection may wait for its next request.
	idleTimeout = 2 * time.Minute
)

// Serve serves HTTP on listener until ctx ends, then lets requests in flight
// finish for at most 5 s and cuts those that remain. Timeouts for headers and
// for idle connections that server leaves unset are set. Connections that a
// handler hijacked (WebSockets) are the handler's to end.
func Serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	if server.ReadHeaderTimeout == 0 {
		server.ReadHeaderTimeout = readHeaderTimeout
	}
	if server.IdleTimeout == 0 {
		server.IdleTimeout = idleTimeout
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	select {
	case err := <-served:
		return fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	shutdownContext, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(shutdownContext)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	if err != nil {
		return fmt.Errorf("end HTTP on %s: %w", listener.Addr(), err)
	}

	return nil
}
