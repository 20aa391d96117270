package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/nagi-rtc/nagi/cmd/internal/ops"
	"github.com/nagi-rtc/nagi/internal/ports"
)

// options are what the command line says.
type options struct {
	help            bool
	channel         string
	bots            int
	verbose         bool
	publicAddresses []string
	anonymous       bool
	listeners       listeners
}

// listeners are the addresses (host:port) that the system listens on.
type listeners struct {
	signaling, media, shim, manager                 string
	managerMetrics, shimMetrics, mediaServerMetrics string

	// second are those of the second media server, which hold picks.
	second mediaServerListeners
}

// mediaServerListeners are the addresses of one media server.
type mediaServerListeners struct{ signaling, media, metrics string }

// mediaServers are those of all.
func (l *listeners) mediaServers() []mediaServerListeners {
	return []mediaServerListeners{{l.signaling, l.media, l.mediaServerMetrics}, l.second}
}

// listenerFlag ties an address to its flag.
type listenerFlag struct {
	address                       *string
	network, flag, value, purpose string
}

func (l *listeners) flags() []listenerFlag {
	return []listenerFlag{
		{&l.signaling, "tcp", "signaling-listen", "127.0.0.1:5000",
			"signalling (/signaling) and the page (/); the second media server has the next port, or a free one"},
		{&l.media, "udp", "media-listen", "127.0.0.1:5004", "media, all of it on this one UDP port; likewise"},
		{&l.shim, "tcp", "shim-listen", "127.0.0.1:3000", "Sora's HTTP API"},
		{&l.manager, "tcp", "manager-listen", "127.0.0.1:7300", "the manager's gRPC services"},
		{&l.managerMetrics, "tcp", "manager-metrics-listen", "127.0.0.1:9301", "the manager's metrics"},
		{&l.shimMetrics, "tcp", "shim-metrics-listen", "127.0.0.1:9302", "the shim's metrics"},
		{&l.mediaServerMetrics, "tcp", "mediaserver-metrics-listen", "127.0.0.1:9303",
			"the media server's metrics; likewise"},
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	set := pflag.NewFlagSet("nagi", pflag.ContinueOnError)
	set.SortFlags = false
	ops.Help(set, "Runs the whole system on this machine, with synthetic clients, and shows what they receive.",
		[2]string{"Four of them, in a channel of your own:", "--bots=4 --channel=lesson-7"},
		[2]string{"For browsers on other machines, by the address that they reach this one at:",
			"--media-listen=192.0.2.7:5004 --signaling-listen=192.0.2.7:5000 --allow-anonymous-clients"},
	)
	set.StringVar(&o.channel, "channel", "sora", "channel that the synthetic clients join")
	set.IntVar(&o.bots, "bots", 2, "how many synthetic clients join; two or more to see a pause")
	set.BoolVar(&o.verbose, "verbose", false, "write what the programs log to stderr, instead of to files")
	set.StringSliceVar(&o.publicAddresses, "public-address", nil, "IP or IP:PORT that browsers on other machines "+
		"reach the media server by, which has to listen there (--media-listen); may be given several times")
	set.BoolVar(&o.anonymous, "allow-anonymous-clients", false, "let everybody who reaches --signaling-listen into every "+
		"channel, as whoever they say; without this flag only on loopback")
	for _, l := range o.listeners.flags() {
		set.StringVar(l.address, l.flag, l.value, "address for "+l.purpose+"; port 0 picks a free one")
	}
	if err := set.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			o.help = true

			return o, nil
		}

		return o, err
	}
	switch {
	case set.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q: nagi takes flags only, see nagi --help", set.Arg(0))
	case o.bots < 0:
		return o, fmt.Errorf("--bots=%d: give 0 or more", o.bots)
	case o.channel == "" || len(o.channel) > 255:
		return o, errors.New("--channel: give 1 to 255 bytes")
	case !o.anonymous && !ops.IsLoopback(o.listeners.signaling):
		return o, fmt.Errorf("--signaling-listen=%s: anybody who reaches this address could join every channel as "+
			"anybody: listen on loopback (127.0.0.1 or [::1]), or let everybody in with --allow-anonymous-clients",
			o.listeners.signaling)
	}

	return o, nil
}

// hold picks the ports that were left open, but for those of media, and keeps what TCP listens
// on from everybody who asks for any port. Doing so before anything runs gives one clear
// error instead of a half-started system. What is held is the caller's to close, whatever
// the error.
func (l *listeners) hold(ctx context.Context) ([]io.Closer, error) {
	var all []io.Closer
	var problems []error
	for _, f := range l.flags() {
		held, err := f.hold(ctx)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			_, port, _ := net.SplitHostPort(*f.address)
			problems = append(problems, fmt.Errorf("%s port %s, for %s, is already taken: end the program that has it, "+
				"or give another address with --%s (port 0 picks a free one)", f.network, port, f.purpose, f.flag))
		case err != nil:
			problems = append(problems, fmt.Errorf("--%s=%s cannot be listened on: %w", f.flag, *f.address, err))
		case held != nil:
			*f.address = held.Address().String()
			all = append(all, held)
		}
	}
	if len(problems) > 0 {
		return all, errors.Join(problems...)
	}
	second, err := l.holdSecond(ctx)

	return append(all, second...), err
}

// holdSecond picks the second media server's addresses: those of the first with the next
// port, or with any that is free where that one is not.
func (l *listeners) holdSecond(ctx context.Context) ([]io.Closer, error) {
	var all []io.Closer
	for _, f := range []struct {
		network, first string
		second         *string
	}{
		{"tcp", l.signaling, &l.second.signaling},
		{"udp", l.media, &l.second.media},
		{"tcp", l.mediaServerMetrics, &l.second.metrics},
	} {
		first, err := netip.ParseAddrPort(f.first)
		if err != nil {
			return all, fmt.Errorf("read the address %s: %w", f.first, err)
		}
		next := listenerFlag{address: f.second, network: f.network}
		if *f.second = netip.AddrPortFrom(first.Addr(), 0).String(); first.Port() > 0 && first.Port() < math.MaxUint16 {
			*f.second = netip.AddrPortFrom(first.Addr(), first.Port()+1).String()
		}
		held, err := next.hold(ctx)
		if err != nil || l.has(f.network, *f.second) {
			*f.second = netip.AddrPortFrom(first.Addr(), 0).String()
			if held != nil {
				all = append(all, held)
			}
			held, err = next.hold(ctx)
		}
		if err != nil {
			return all, fmt.Errorf("find an address for the second media server: %w", err)
		}
		if held != nil {
			*f.second = held.Address().String()
			all = append(all, held)
		}
	}

	return all, nil
}

// has tells whether an address is one that something else is about to listen on.
func (l *listeners) has(network, address string) bool {
	return slices.ContainsFunc(l.flags(), func(f listenerFlag) bool {
		return f.network == network && *f.address == address
	})
}

// hold keeps a TCP address. UDP's cannot be kept: that it is free is found out by listening
// for a moment, and any free port is left for the media server to pick.
func (f *listenerFlag) hold(ctx context.Context) (*ports.Held, error) {
	if f.network == "tcp" {
		return ports.Hold(*f.address)
	}
	conn, err := new(net.ListenConfig).ListenPacket(ctx, f.network, *f.address)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(conn.LocalAddr().String())
	if _, asked, _ := net.SplitHostPort(*f.address); asked == "0" {
		port = asked
	}
	*f.address = net.JoinHostPort(host, port)

	return nil, errors.Join(err, conn.Close())
}

// isTerminal tells whether a file is a screen whose lines can be drawn again.
func isTerminal(file *os.File) bool {
	info, err := file.Stat()

	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
