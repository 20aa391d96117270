//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// floorCounts are what the floor tells of itself, as our server does of its socket.
type floorCounts struct{ datagrams, messages, calls, reports atomic.Uint64 }

// serve serves them, and returns where. Nobody asks while anything is measured.
func (c *floorCounts) serve() (address string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for who asks for metrics: %w", err)
	}
	server := &http.Server{Handler: c, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }() // Ends with the process.

	return listener.Addr().String(), nil
}

// ServeHTTP writes a Prometheus page.
func (c *floorCounts) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for name, count := range map[string]*atomic.Uint64{
		"datagrams_sent": &c.datagrams, "messages_sent": &c.messages, "send_calls": &c.calls, "reports": &c.reports,
	} {
		_, _ = fmt.Fprintf(w, "floor_%s_total %d\n", name, count.Load())
	}
}
