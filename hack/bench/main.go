//go:build linux

// Command bench measures what one forwarded packet costs a media server: ours,
// its peers, and a floor that does no more than any of them must.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// dispatch runs one of the commands, or one of the processes that they start
// from the same binary.
func dispatch(ctx context.Context, arguments []string) error {
	command, rest := "", arguments
	if len(arguments) > 0 {
		command, rest = arguments[0], arguments[1:]
	}
	switch command {
	case "channel":
		return channelMeasure(ctx, rest)
	case "gate":
		return gate(ctx, rest)
	case "pause":
		return pause(ctx, rest)
	case insideNamespace:
		if len(rest) > 0 && rest[0] == "pause" {
			return pauseInNamespace(ctx, rest[1:])
		}
	case "switch":
		return switchLayers(ctx, rest)
	case "table":
		return table(rest, os.Stdin)
	case "load":
		return load(ctx, os.Stdin, os.Stdout)
	case "floor":
		return floor(rest)
	}

	return forwarding(ctx, arguments)
}
