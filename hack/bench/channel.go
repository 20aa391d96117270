//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
)

// channelKind is one way in which a channel is filled.
type channelKind struct {
	name    string
	senders int // Of the connections, the first ones; 0: all of them, and they receive too.
}

func channelKinds() []channelKind {
	return []channelKind{{name: "sendrecv"}, {name: "recvonly", senders: 10}}
}

// role is that of the connection with the index.
func (k channelKind) role(index int) string {
	switch {
	case k.senders == 0:
		return "sendrecv"
	case index < k.senders:
		return "sendonly"
	default:
		return "recvonly"
	}
}

// edges is how many there are among so many connections.
func (k channelKind) edges(connections int) int {
	if k.senders == 0 {
		return connections * (connections - 1)
	}

	return k.senders * (connections - k.senders)
}

// streams is how many the connection with the index receives when there are so many
// connections: audio and video of each sender.
func (k channelKind) streams(index, connections int) int {
	switch k.role(index) {
	case "sendrecv":
		return 2 * (connections - 1)
	case "recvonly":
		return 2 * k.senders
	default:
		return 0
	}
}

// channelOptions are the flags of `bench channel`.
type channelOptions struct {
	sizes         []int
	kinds         []channelKind
	churn, rounds int
	root          string
}

// channelMeasure measures what it costs to come to a channel and to leave it, by the
// channel's size.
func channelMeasure(ctx context.Context, arguments []string) error {
	o, err := parseChannelOptions(arguments)
	if err != nil {
		return err
	}
	path, err := program(o.root, "bin/mediaserver")
	if err != nil {
		return err
	}
	revision, lines := gitRevision(ctx, o.root), json.NewEncoder(os.Stdout)
	var results []channelResult
	for round := 1; round <= o.rounds; round++ {
		for _, kind := range o.kinds {
			for _, size := range o.sizes {
				r, err := measureChannel(ctx, path, kind, size, o.churn)
				if err != nil {
					return fmt.Errorf("%s with %d connections, round %d: %w", kind.name, size, round, err)
				}
				r.Round, r.GitRevision = round, revision
				results = append(results, r)
				if err := lines.Encode(r); err != nil {
					return fmt.Errorf("print a result: %w", err)
				}
			}
		}
	}

	return printChannelTables(os.Stdout, results)
}

func parseChannelOptions(arguments []string) (channelOptions, error) {
	o := channelOptions{}
	var kinds []string
	flags := pflag.NewFlagSet("bench channel", pflag.ContinueOnError)
	flags.IntSliceVar(&o.sizes, "connections", []int{50, 200}, "sizes of the channel")
	flags.StringSliceVar(&kinds, "kinds", []string{"sendrecv", "recvonly"},
		"kinds of channel: sendrecv, or recvonly (10 senders, all others receive)")
	flags.IntVar(&o.churn, "churn", 10, "how often somebody leaves and comes at each size")
	flags.IntVar(&o.rounds, "rounds", 3, "rounds, each with new servers; the table shows medians")
	flags.StringVar(&o.root, "root", ".", "the repository, with bin/mediaserver")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	for _, name := range kinds {
		known := false
		for _, kind := range channelKinds() {
			if kind.name == name {
				o.kinds, known = append(o.kinds, kind), true
			}
		}
		if !known {
			return o, fmt.Errorf("--kinds: no kind %q; there are sendrecv and recvonly", name)
		}
	}
	for _, size := range o.sizes {
		if size < 12 || size > 1000 {
			return o, fmt.Errorf("--connections=%d: give numbers from 12 to 1,000", size)
		}
	}
	if o.churn < 1 || o.rounds < 1 || flags.NArg() > 0 {
		return o, errors.New("--churn and --rounds: give numbers from 1 on, and nothing but flags")
	}

	return o, nil
}

// measureChannel fills a channel of a new server, lets clients leave and come, and
// measures that server.
func measureChannel(ctx context.Context, path string, kind channelKind, size, churn int) (channelResult, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	server, err := startNagi(path)(ctx, "", scenario{})
	if err != nil {
		return channelResult{}, err
	}
	defer server.stop()
	c := newChannelCrowd(ctx, server, kind)
	defer c.close()
	r, err := c.measure(ctx, size, churn)
	if err != nil {
		return r, fmt.Errorf("%w; the server's last words: %s", err, server.process.output)
	}

	return r, nil
}
