package managers

import (
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// redialFirst and redialCeiling bound gRPC's wait before it dials again, whose
	// default of up to 2 minutes would keep a restarted manager unasked long after
	// it is back.
	redialFirst   = 100 * time.Millisecond
	redialCeiling = 2 * time.Second
	// connectTimeout bounds the attempt to reach an address that does not answer.
	connectTimeout = 2 * time.Second
	// pingInterval is the shortest that gRPC allows a client. Pings are sent
	// without any call too: a connection that died half-open is to be known before
	// the next question needs it.
	pingInterval = 10 * time.Second
	// pingTimeout is also how long what was sent may stay unacknowledged by TCP.
	pingTimeout = 3 * time.Second
	// maxMessageBytes is room for a message of the protocol's bound and for one
	// more entry, if a replica should reckon otherwise.
	maxMessageBytes = 2 * forwardingv1.MaxMessageBytes
)

// Window is how many bytes may be under way unread, in a stream and in a connection,
// on both sides. It is a fixed one: to find the best, gRPC would send a ping with
// whatever it receives, which costs a manager with a thousand quiet streams more than
// what they say.
const Window = 256 << 10

// Dial makes a connection to exactly one address, host:port with an IP address:
// gRPC is kept from choosing among several. It connects when it is first used or
// told to. The options must hold the transport credentials. The caller closes it.
func Dial(address string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	delays := backoff.DefaultConfig
	delays.BaseDelay = redialFirst
	delays.MaxDelay = redialCeiling
	ours := []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: delays, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: pingInterval, Timeout: pingTimeout, PermitWithoutStream: true,
		}),
		grpc.WithStaticStreamWindowSize(Window), grpc.WithStaticConnWindowSize(Window),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		// gRPC gives a connection without calls up after half an hour.
		grpc.WithIdleTimeout(0),
		// The address is one of ours, never one beyond a proxy of the environment's.
		grpc.WithNoProxy(),
	}
	connection, err := grpc.NewClient("passthrough:///"+address, append(ours, options...)...)
	if err != nil {
		return nil, fmt.Errorf("prepare to dial the manager at %s: %w", address, err)
	}

	return connection, nil
}
