//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// overhead is what joining, warming up, falling silent and ending take in each
// run, about.
const overhead = 3500 * time.Millisecond

type options struct {
	cases, servers []string // No servers: those of each case.
	seconds, runs  int
	root           string
	noJanus        error // Why Janus cannot run; nil: it can.
}

// forwarding measures every case. It does so in a network namespace of its own,
// which it enters by starting anew, where it may; else on plain loopback.
func forwarding(ctx context.Context, arguments []string) error {
	inside := len(arguments) > 0 && arguments[0] == insideNamespace
	o, err := forwardingOptions(arguments, inside)
	if err != nil {
		return err
	}
	if inside {
		if err, o.noJanus = furnishNamespace(ctx); err != nil {
			return err
		}
	} else {
		reason := enterNamespace(arguments)
		o.noJanus = fmt.Errorf("%w; run as root", reason)
		fmt.Fprintln(os.Stderr, "bench: everything runs on plain loopback, since no network namespace can be made:", reason)
	}

	return benchmark(ctx, o)
}

func forwardingOptions(arguments []string, inside bool) (options, error) {
	if inside {
		arguments = arguments[1:]
	}
	var o options
	flags := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	flags.StringSliceVar(&o.cases, "cases", caseNames(), "cases to run")
	flags.StringSliceVar(&o.servers, "servers", nil,
		"servers to run in every case; without it each case has its own. There are "+strings.Join(serverNames(), ", "))
	flags.IntVar(&o.seconds, "seconds", 20, "seconds of steady state that are measured in each run")
	flags.IntVar(&o.runs, "runs", 3, "runs of each server in each case; the tables show medians")
	flags.StringVar(&o.root, "root", ".", "the repository, with bin/mediaserver and bin/bench/server (LiveKit)")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("no command %q; there are table and gate, and flags for the benchmark itself", flags.Arg(0))
	}
	if o.seconds < 1 || o.runs < 1 {
		return o, errors.New("--seconds and --runs: give numbers from 1 on")
	}

	return o, nil
}

// benchmark runs every server once per round, so that a change of the machine's
// mood meets all of them. Each result is printed as it comes: table makes the
// tables of an interrupted benchmark from them.
func benchmark(ctx context.Context, o options) error {
	runs, err := plan(o)
	if err != nil {
		return err
	}
	var whole time.Duration
	for _, r := range runs {
		whole += r.steady + overhead
	}
	fmt.Fprintf(os.Stderr, "bench: %d runs, about %d minutes\n", len(runs), int(whole.Minutes()+1))
	revision := gitRevision(ctx, o.root)
	lines := json.NewEncoder(os.Stdout)
	var results []result
	failed, interrupted := 0, false
	for _, r := range runs {
		measured, err := r.do(ctx)
		if ctx.Err() != nil {
			interrupted = true

			break
		}
		if err != nil {
			failed++
			fmt.Fprintf(os.Stderr, "bench: %s, case %s, run %d: %v\n", r.server.name, r.scenario.name, r.round, err)

			continue
		}
		measured.Run, measured.GitRevision = r.round, revision
		results = append(results, measured)
		if err := lines.Encode(measured); err != nil {
			return fmt.Errorf("print a result: %w", err)
		}
	}
	printTables(os.Stdout, results)
	switch {
	case interrupted:
		return fmt.Errorf("interrupted after %d of %d runs", len(results)+failed, len(runs))
	case failed > 0:
		return fmt.Errorf("%d of %d runs failed; why is told above, where each did", failed, len(runs))
	}

	return nil
}

// plannedRun is one server in one case, once.
type plannedRun struct {
	server   server
	scenario scenario
	round    int
	steady   time.Duration
}

func plan(o options) ([]plannedRun, error) {
	chosen, err := chooseCases(o.cases)
	if err != nil {
		return nil, err
	}
	wanted := o
	for _, c := range chosen {
		if len(o.servers) == 0 {
			wanted.servers = append(wanted.servers, c.servers...)
		}
	}
	wanted.servers = inOrder(wanted.servers)
	servers, err := chooseServers(wanted)
	if err != nil {
		return nil, err
	}
	var runs []plannedRun
	for _, c := range chosen {
		seconds := o.seconds
		if c.seconds > 0 {
			seconds = min(seconds, c.seconds)
		}
		for round := 1; round <= o.runs; round++ {
			for _, s := range servers {
				if c.plainless && s.plain || len(o.servers) == 0 && !slices.Contains(c.servers, s.name) {
					continue
				}
				runs = append(runs, plannedRun{server: s, scenario: c, round: round, steady: time.Duration(seconds) * time.Second})
			}
		}
	}
	if len(runs) == 0 {
		return nil, errors.New("--cases and --servers: none of these servers can run any of these cases")
	}

	return runs, nil
}

// inOrder is each server once, those first that are measured first; unknown ones
// stay, for who checks.
func inOrder(names []string) []string {
	slices.SortStableFunc(names, func(a, b string) int {
		return slices.Index(serverNames(), a) - slices.Index(serverNames(), b)
	})

	return slices.Compact(names)
}

// do gives the run its time and a minute for joining, warming up and ending.
func (r plannedRun) do(ctx context.Context) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, r.steady+time.Minute)
	defer cancel()

	return run(ctx, r.server, r.scenario, r.steady)
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

// table prints the closing tables of lines that earlier runs have printed: those
// of the files, else those of the input.
func table(files []string, input io.Reader) error {
	readers := []io.Reader{input}
	if len(files) > 0 {
		readers = nil
	}
	for _, name := range files {
		file, err := os.Open(name) //nolint:gosec // Whoever runs this may read it.
		if err != nil {
			return fmt.Errorf("read results: %w", err)
		}
		defer func() { _ = file.Close() }()
		readers = append(readers, file)
	}
	var results []result
	for _, r := range readers {
		more, err := readResults(r)
		if err != nil {
			return err
		}
		results = append(results, more...)
	}
	if len(results) == 0 {
		return errors.New("no results in the input; give the lines that `make bench-forwarding` printed")
	}
	printTables(os.Stdout, results)

	return nil
}

func printTables(w io.Writer, results []result) {
	s := summarize(results)
	s.printMedians(w)
	s.printTargets(w)
}
