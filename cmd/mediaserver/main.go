// Command mediaserver is the SFU: it takes clients in by signalling, forwards
// their media, and withholds what RtpStreamPause objects pause.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	_ "golang.org/x/crypto/x509roots/fallback" // An auth webhook may be anywhere, and an image from scratch has no roots.

	"github.com/nagi-rtc/nagi/cmd/internal/ops"
	"github.com/nagi-rtc/nagi/mediaserver/page"
	"github.com/nagi-rtc/nagi/mediaserver/peers"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

func main() {
	os.Exit(ops.Main(context.Background(), ops.NewLogger(os.Stderr), "mediaserver", os.Args[1:], parse, run))
}

// run serves until ctx ends or the process is told to end.
func run(ctx context.Context, o options, log *slog.Logger) error {
	registry := ops.NewRegistry()
	pageHandler, err := page.Handler(page.Config{ShimURL: o.shimURL})
	if err != nil {
		return fmt.Errorf("--shim-url: %w", err)
	}
	authority, endAuthority, err := o.auth.authority(o.name, registry, log)
	if err != nil {
		return err
	}
	defer endAuthority()
	ice, err := o.ice(log)
	if err != nil {
		return err
	}
	engine, err := listenMedia(o, registry, log)
	if err != nil {
		return err
	}
	listener, err := ops.Listen(ctx, log, ops.Signaling, o.listen)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	metricsListener, err := ops.Listen(ctx, log, ops.Metrics, o.metricsListen)
	if err != nil {
		return errors.Join(err, listener.Close(), engine.Close())
	}
	sfu := newServer(o, engine, authority, ice, o.peers.reachedAt(listener.Addr()), registry, log)

	mux := http.NewServeMux()
	mux.Handle(peers.SignalingPath, sfu.signaling)
	mux.Handle("GET "+peers.Path, sfu.peers)
	mux.Handle("/", pageHandler)

	// What serves goes on while the media server drains, and ends with it; it ends first only by
	// a failure, and then there is nothing to drain for.
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	draining, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()

	return ops.Run(ctx,
		func(ctx context.Context) error {
			defer end()

			return sfu.run(ctx, draining)
		},
		serve(serving, giveUp, mux, sfu.signaling.Bound(listener)),
		serve(serving, giveUp, ops.Handler(registry, sfu.ready, sfu.subscriber.Vouched, sfu.subscriber.Taken),
			metricsListener),
	)
}

// ice is what clients are told of ICE servers, nil if they need none.
func (o options) ice(log *slog.Logger) (*signaling.ICEConfig, error) {
	if o.iceServersFile == "" {
		return nil, nil //nolint:nilnil // None, as the option says.
	}
	config, err := signaling.OpenICEConfig(o.iceServersFile, log)
	if err != nil {
		return nil, fmt.Errorf("--ice-servers-file: %w", err)
	}

	return config, nil
}

// maxHeaderBytes of a request. Browsers send some KB; strangers are not listened to for long.
const maxHeaderBytes = 16 << 10

// maxRequestTime is how long a request may take to come, and its answer to go.
const maxRequestTime = 30 * time.Second

// serve serves until serving ends, whatever else ends; when it ends by a failure it tells.
func serve(
	serving context.Context, failed func(), handler http.Handler, listener net.Listener,
) func(context.Context) error {
	return func(context.Context) error {
		defer failed()

		return ops.Serve(serving, newHTTPServer(handler, maxRequestTime), listener)
	}
}

// newHTTPServer makes a server whose requests and answers take that long at most each. For
// a WebSocket this ends with its handshake.
func newHTTPServer(handler http.Handler, most time.Duration) *http.Server {
	return &http.Server{Handler: handler, MaxHeaderBytes: maxHeaderBytes, ReadTimeout: most, WriteTimeout: most}
}

// listenMedia opens the media socket and starts the engine on it.
func listenMedia(o options, registry prometheus.Registerer, log *slog.Logger) (*rtc.Engine, error) {
	socket, err := udp.Listen(o.mediaListen, o.mediaWorkers)
	if err != nil {
		return nil, fmt.Errorf("--media-listen=%s: %w", o.mediaListen, err)
	}
	ops.Announce(log, ops.Media, net.UDPAddrFromAddrPort(socket.Addr()))
	engine, err := rtc.New(rtc.Config{Socket: socket, PublicAddresses: o.publicAddresses, Log: log, Registerer: registry})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--media-listen and --public-address: %w", err), socket.Close())
	}

	return engine, nil
}
