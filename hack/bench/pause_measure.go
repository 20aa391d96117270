//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nagi-rtc/nagi/hack/bench/plane"
)

// pauses collects the rounds of all servers.
type pauses struct {
	options   pauseOptions
	revision  string
	output    *json.Encoder
	summaries []waySummary
	raw       *yardsticks
}

// limit is far more than a run takes: rounds that hang have ended long before.
func (m *pauses) limit() time.Duration {
	return 3*time.Minute + time.Duration(m.options.rounds)*20*time.Second
}

func (m *pauses) measure(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.limit(), fmt.Errorf("the run took longer than %s", m.limit()))
	defer cancel()
	if name == "nagi" {
		return m.measureNagi(ctx)
	}
	chosen, err := chooseServers(options{servers: []string{name}, root: m.options.root, noJanus: m.options.noJanus})
	if err != nil || len(chosen) == 0 {
		return err
	}

	return m.measurePeer(ctx, chosen[0])
}

// measureNagi interleaves its two ways and the yardstick, so that slow moments of
// the disk meet all three.
func (m *pauses) measureNagi(ctx context.Context) (err error) {
	n, err := startSystem(ctx, m.options.root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop(ctx)) }()
	r, err := joinRig(ctx, "sora", n.signaling, m.options.stream)
	if err != nil {
		return err
	}
	defer r.stop()
	post, err := n.post(r)
	if err != nil {
		return err
	}
	before, err := plane.ReadFsyncs(ctx, n.http, n.programs.Etcd)
	if err != nil {
		return err
	}
	rounds := &series{server: "nagi", rig: r, ways: []way{post, n.object(r)}, measure: n.kubernetes.yardstick}
	if err := m.repeat(ctx, rounds); err != nil {
		return err
	}
	after, err := plane.ReadFsyncs(ctx, n.http, n.programs.Etcd)
	if err != nil {
		return err
	}

	return m.noteYardsticks(rounds.raw, before, after)
}

func (m *pauses) noteYardsticks(raw []yardstick, before, after plane.Fsyncs) error {
	count, mean, err := after.Since(before)
	if err != nil {
		return err
	}
	m.raw = &yardsticks{
		Server: raw[0].Server, Way: raw[0].Way, Rounds: len(raw), GitRevision: m.revision,
		CreateToWatch: spanOf(raw, func(y yardstick) *int64 { return y.CreateToWatch }),
		DeleteToWatch: spanOf(raw, func(y yardstick) *int64 { return y.DeleteToWatch }),
		Fsync:         mean.Microseconds(), Fsyncs: count,
	}
	m.print(m.raw)

	return nil
}

func (m *pauses) measurePeer(ctx context.Context, s server) error {
	directory, err := os.MkdirTemp("", "nagi-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for configuration: %w", err)
	}
	defer func() { _ = os.RemoveAll(directory) }()
	running, err := s.start(ctx, directory, scenario{unpinned: true})
	if err != nil {
		return err
	}
	defer running.stop()
	r, err := joinRig(ctx, s.protocol, running.address, m.options.stream)
	if err != nil {
		return fmt.Errorf("%w; the server's last words: %s", err, running.process.output)
	}
	defer r.stop()
	ways := janusWays(r)
	if s.protocol == "livekit" {
		if ways, err = liveKitWays(running.address, r); err != nil {
			return err
		}
	}

	return m.repeat(ctx, &series{server: s.name, rig: r, ways: ways})
}

// series is the rounds of one server.
type series struct {
	server  string
	rig     *rig
	ways    []way
	rounds  [][]line // By way.
	measure func(context.Context) (yardstick, error)
	raw     []yardstick
}

// repeat tells of the rounds before a failure, too.
func (m *pauses) repeat(ctx context.Context, s *series) error {
	s.rounds = make([][]line, len(s.ways))
	var err error
	// Round 0 does not count: connections are opened in it, and an API server lets
	// the first object of a fresh kind wait for 2 s.
	for number := 0; number <= m.options.rounds && err == nil; number++ {
		err = m.goRound(ctx, s, number)
	}
	for _, group := range s.rounds {
		if len(group) > 0 {
			summary := summarizeRounds(group)
			m.summaries = append(m.summaries, summary)
			m.print(summary)
		}
	}

	return err
}

// goRound goes through all ways, with a yardstick, if there is one, after each:
// slow moments of the machine meet all of them.
func (m *pauses) goRound(ctx context.Context, s *series, number int) error {
	for i, w := range s.ways {
		l, err := s.rig.round(ctx, w)
		if err != nil {
			return fmt.Errorf("round %d by %s: %w", number, w.name, err)
		}
		l.Server, l.Round, l.GitRevision = s.server, number, m.revision
		if number > 0 {
			s.rounds[i] = append(s.rounds[i], l)
			m.printRound(l)
		}
		if s.measure == nil {
			continue
		}
		y, err := s.measure(ctx)
		if err != nil {
			return fmt.Errorf("round %d, the API server alone: %w", number, err)
		}
		y.Round, y.GitRevision = number, m.revision
		if number > 0 {
			s.raw = append(s.raw, y)
			m.printRound(y)
		}
	}

	return nil
}

func (m *pauses) printRound(l any) {
	if m.options.lines {
		m.print(l)
	}
}

// print lets a failure be: whoever closed the output wants no more.
func (m *pauses) print(l any) { _ = m.output.Encode(l) }
