//go:build linux

// Command bench measures what one forwarded packet costs a media server: ours,
// its peers, and a floor that does no more than any of them must.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

type options struct {
	cases, servers []string
	seconds, runs  int
	root           string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// dispatch runs the benchmark, or one of the two other processes that it starts
// from the same binary.
func dispatch(ctx context.Context, arguments []string) error {
	if len(arguments) == 1 && arguments[0] == "load" {
		return load(ctx, os.Stdin, os.Stdout)
	}
	if len(arguments) == 2 && arguments[0] == "floor" {
		return floor(arguments[1])
	}
	var o options
	flags := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	flags.StringSliceVar(&o.cases, "cases", caseNames(), "cases to run")
	flags.StringSliceVar(&o.servers, "servers", serverNames(), "servers to run")
	flags.IntVar(&o.seconds, "seconds", 20, "seconds of steady state that are measured in each run")
	flags.IntVar(&o.runs, "runs", 3, "runs of each server in each case; the table shows medians")
	flags.StringVar(&o.root, "root", ".", "the repository, with bin/mediaserver and bin/bench/server (LiveKit)")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if o.seconds < 1 || o.runs < 1 {
		return errors.New("--seconds and --runs: give numbers from 1 on")
	}
	return benchmark(ctx, o)
}

// benchmark runs every server once per round, so that a change of the machine's
// mood meets all of them.
func benchmark(ctx context.Context, o options) error {
	chosen, err := chooseCases(o.cases)
	if err != nil {
		return err
	}
	servers, err := chooseServers(o)
	if err != nil {
		return err
	}
	revision := gitRevision(ctx, o.root)
	lines := json.NewEncoder(os.Stdout)
	var results []result
	var failed []error
	for _, c := range chosen {
		for round := 1; round <= o.runs; round++ {
			for _, s := range servers {
				if c.plainless && s.plain {
					continue
				}
				r, err := runBounded(ctx, s, c, o.seconds)
				if ctx.Err() != nil {
					return errors.New("interrupted")
				}
				if err != nil {
					failed = append(failed, fmt.Errorf("%s, case %s, run %d: %w", s.name, c.name, round, err))
					fmt.Fprintln(os.Stderr, "bench:", failed[len(failed)-1])
					continue
				}
				r.Run, r.GitRevision = round, revision
				results = append(results, r)
				if err := lines.Encode(r); err != nil {
					return fmt.Errorf("print a result: %w", err)
				}
			}
		}
	}
	printTable(os.Stdout, results)
	return errors.Join(failed...)
}

// runBounded gives one run its time and half a minute to a minute for joining,
// warming up and ending.
func runBounded(ctx context.Context, s server, c scenario, seconds int) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+time.Minute)
	defer cancel()
	return run(ctx, s, c, time.Duration(seconds)*time.Second)
}

func chooseCases(names []string) ([]scenario, error) {
	var chosen []scenario
	for _, name := range names {
		c, ok := caseByName(name)
		if !ok {
			return nil, fmt.Errorf("--cases: no case %q; there are %s", name, strings.Join(caseNames(), ", "))
		}
		chosen = append(chosen, c)
	}
	return chosen, nil
}
