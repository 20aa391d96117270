package main

import (
	"net"
	"testing"
)

// TestHoldIsKept proves that nobody else gets a port that was picked, and the program that
// it was picked for does.
func TestHoldIsKept(t *testing.T) {
	l := anyPorts()
	hold(t, l.hold)
	taken := map[string]bool{}
	for range 30_000 {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		taken[listener.Addr().String()] = true
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range []string{
		l.signaling, l.shim, l.manager, l.managerMetrics, l.shimMetrics, l.mediaServerMetrics, l.second.signaling,
		l.second.metrics,
	} {
		if taken[address] {
			t.Errorf("somebody else was given %s", address)
		}
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
