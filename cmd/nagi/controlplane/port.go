package controlplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
)

const (
	// lowestPort and defaultLocal are between which ports are looked for: those above are
	// given to outgoing connections (the default of Linux; other systems begin higher), and
	// one that a server leaves for a moment would be theirs.
	lowestPort, defaultLocal = 20_000, 32_768
	localRange               = "/proc/sys/net/ipv4/ip_local_port_range"
	portAttempts             = 100
)

// FreePort finds a TCP port of loopback that nobody listens on, and that the system gives
// to no outgoing connection, so that a server may leave it and come back to it. Another
// that looks for one may find the same.
func FreePort() (int, error) {
	below := defaultLocal
	if text, err := os.ReadFile(localRange); err == nil {
		var first int
		if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &first); err == nil && first > lowestPort {
			below = min(below, first)
		}
	}
	for range portAttempts {
		port := lowestPort + rand.IntN(below-lowestPort) //nolint:gosec // Nobody is to be kept from guessing it.
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			continue
		case err != nil:
			return 0, fmt.Errorf("look for a free port of loopback: %w", err)
		}
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("look for a free port of loopback: %w", err)
		}

		return port, nil
	}

	return 0, fmt.Errorf("no free port of loopback from %d to %d in %d attempts", lowestPort, below-1, portAttempts)
}
