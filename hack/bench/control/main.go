//go:build linux

// Command control measures the control plane at scale: a real API server, managers
// and a shim as processes, and simulated media servers with real streams.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/nagi-rtc/nagi/hack/bench/plane"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "control:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 2 && arguments[0] == plane.Command {
		return plane.Run(ctx, arguments[1])
	}
	if len(arguments) > 0 && arguments[0] == stormCommand {
		return runStorm(ctx, arguments[1:])
	}
	o, err := parse(arguments)
	if err != nil {
		return err
	}
	b := &bench{options: o, output: json.NewEncoder(os.Stdout), revision: revision(ctx, o.root)}
	err = b.run(ctx)
	b.printTable(os.Stdout)
	if err != nil {
		return err
	}

	return b.missed()
}

// options are the flags.
type options struct {
	objects, few, channels, mediaServers int
	crowded, crowd, crowdPauses          int
	samples                              int
	root                                 string
	only                                 []string
}

// each is how many pauses of one edge each a channel gets.
func (o options) each() int { return o.objects / o.channels }

func parse(arguments []string) (options, error) {
	var o options
	flags := pflag.NewFlagSet("control", pflag.ContinueOnError)
	flags.IntVar(&o.objects, "objects", 100_000, "pauses, of one edge each")
	flags.IntVar(&o.few, "few", 1_000, "pauses with which the cost of one change is compared")
	flags.IntVar(&o.channels, "channels", 10_000, "channels that they are spread over")
	flags.IntVar(&o.mediaServers, "mediaservers", 1_000, "media servers that host the channels")
	flags.IntVar(&o.crowded, "crowded", 5_000, "pauses, of one edge each, of the one channel that has many")
	flags.IntVar(&o.crowd, "crowd", 10_000, "connections of the one channel that has many")
	flags.IntVar(&o.crowdPauses, "crowd-pauses", 50, "pauses with an open side in that channel")
	flags.IntVar(&o.samples, "samples", 200, "samples of what is sampled")
	flags.StringVar(&o.root, "root", ".", "the repository, with its programs in bin/")
	flags.StringSliceVar(&o.only, "only", nil, "measure these alone: "+strings.Join(measureNames(), ", "))
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	for _, name := range o.only {
		if !slices.Contains(measureNames(), name) {
			return o, fmt.Errorf("--only: nothing is called %q; there are %s", name, strings.Join(measureNames(), ", "))
		}
	}
	switch {
	case o.samples < 10 || o.mediaServers < 2 || o.channels < o.mediaServers || o.few < o.mediaServers ||
		o.few > o.objects:
		return o, errors.New("give 10 samples or more, 2 media servers or more, no fewer channels than media servers, " +
			"and --few between --mediaservers and --objects")
	case o.each() < 1 || o.each() > smallEdges:
		return o, fmt.Errorf("--objects and --channels: a channel would get %d pauses; choose 1 to %d", o.each(), smallEdges)
	}
	var err error
	o.root, err = filepath.Abs(o.root)

	return o, err
}
