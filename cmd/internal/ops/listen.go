package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
)

// What a listener is for: the value of what in the line that announces it.
const (
	Signaling = "signaling"
	Media     = "media"
	GRPC      = "grpc"
	HTTP      = "http"
	Metrics   = "metrics"
)

// Listen opens a TCP listener on address (host:port; port 0 picks a free one)
// and announces it. The error tells which flag to change.
func Listen(ctx context.Context, log *slog.Logger, what, address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, ListenError(what, address, err)
	}
	Announce(log, what, listener.Addr())

	return listener, nil
}

// Announce logs the address that a listener got, so that whoever asked for port
// 0 learns the port.
func Announce(log *slog.Logger, what string, address net.Addr) {
	log.Info("listening", "what", what, "address", address.String())
}

// ListenError adds to err, with which listening failed, what was tried and which
// flag mends it.
func ListenError(what, address string, err error) error {
	remedy := fmt.Sprintf("give another address with %s", flagOf(what))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		remedy = fmt.Sprintf(
			"another process has this port: end it, or give another port with %s (port 0 picks a free one)", flagOf(what),
		)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		remedy = fmt.Sprintf("no interface of this machine has this address: give one that it has with %s", flagOf(what))
	case errors.Is(err, syscall.EACCES):
		remedy = fmt.Sprintf("this port needs privileges: give one above 1023 with %s", flagOf(what))
	}

	return fmt.Errorf("listen for %s on %q: %w; %s", what, address, err, remedy)
}

// flagOf names the flag that gives a listener's address, the same in every program.
func flagOf(what string) string {
	switch what {
	case Metrics:
		return "--metrics-listen"
	case Media:
		return "--media-listen"
	default:
		return "--listen"
	}
}

// IsLoopback tells whether an address (host:port) is one that no other machine can reach.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)

	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
