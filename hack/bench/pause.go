//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/nagi-rtc/nagi/hack/bench/plane"
)

// pauseOptions are the flags of `bench pause`.
type pauseOptions struct {
	servers []string
	rounds  int
	root    string
	stream  stream
	lines   bool
	noJanus error // Why Janus cannot run; nil: it can.
}

func pauseServers() []string { return []string{"nagi", "livekit", "janus"} }

// pause measures how fast a pause acts and how fast it ends: in our whole system,
// beside its API server alone, and at the peers.
func pause(ctx context.Context, arguments []string) error {
	if len(arguments) == 2 && arguments[0] == plane.Command {
		return plane.Run(ctx, arguments[1])
	}
	o, err := parsePauseOptions(arguments)
	if err != nil {
		return err
	}
	if slices.Contains(o.servers, "janus") {
		o.noJanus = fmt.Errorf("%w; run as root", enterNamespace(append([]string{"pause"}, arguments...)))
	}

	return measurePauses(ctx, o)
}

// pauseInNamespace is pause anew, in a network namespace of its own.
func pauseInNamespace(ctx context.Context, arguments []string) error {
	o, err := parsePauseOptions(arguments)
	if err != nil {
		return err
	}
	if err, o.noJanus = furnishNamespace(ctx); err != nil {
		return err
	}

	return measurePauses(ctx, o)
}

func measurePauses(ctx context.Context, o pauseOptions) error {
	m := &pauses{options: o, revision: gitRevision(ctx, o.root), output: json.NewEncoder(os.Stdout)}
	var failed []error
	for _, name := range o.servers {
		if err := m.measure(ctx, name); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", name, err)
			failed = append(failed, fmt.Errorf("%s was not measured to the end: see above", name))
		}
		if ctx.Err() != nil {
			failed = []error{errors.New("interrupted")}

			break
		}
	}
	printPauseTable(os.Stdout, m.summaries, m.raw)

	return errors.Join(append(failed, broken(m.summaries)...)...)
}

func parsePauseOptions(arguments []string) (pauseOptions, error) {
	var o pauseOptions
	flags := pflag.NewFlagSet("bench pause", pflag.ContinueOnError)
	flags.StringSliceVar(&o.servers, "servers", pauseServers(), "servers to measure, one after another")
	flags.IntVar(&o.rounds, "rounds", 200, "pauses, and resumes, by each way")
	flags.StringVar(&o.root, "root", ".", "the repository, with its programs in bin/ and LiveKit in bin/bench/server")
	flags.IntVar(&o.stream.fps, "fps", 30, "frames of video a second")
	flags.IntVar(&o.stream.packets, "packets", 4, "packets in a frame; the video is 1 Mbit/s whatever these two are")
	flags.BoolVar(&o.lines, "lines", false, "print a line for every round, too")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	for _, name := range o.servers {
		if !slices.Contains(pauseServers(), name) {
			return o, fmt.Errorf("--servers: no server %q; there are %s", name, strings.Join(pauseServers(), ", "))
		}
	}
	switch {
	case o.rounds < 1 || o.stream.fps < 1 || o.stream.packets < 1:
		return o, errors.New("--rounds, --fps and --packets: give numbers from 1 on")
	case o.stream.payloadBytes() < minPayloadBytes || o.stream.payloadBytes() > maxPayloadBytes:
		return o, fmt.Errorf("--fps and --packets: their packets would carry %d bytes; choose from %d to %d",
			o.stream.payloadBytes(), minPayloadBytes, maxPayloadBytes)
	}

	return o, nil
}

// maxPayloadBytes fits a datagram of an ordinary network.
const maxPayloadBytes = 1200
