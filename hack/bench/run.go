//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// settling is for how long everything must be as it shall before anything is
	// measured.
	settling    = time.Second
	warmUpLimit = 25 * time.Second
	// drain is how long nothing arrives before counters are read: then every
	// packet has either arrived or is lost.
	drain      = 400 * time.Millisecond
	drainStep  = 100 * time.Millisecond
	drainLimit = 5 * time.Second
)

// run measures one server in one case.
func run(ctx context.Context, s server, c scenario, steady time.Duration) (result, error) {
	r, err := startTrial(ctx, s, c)
	if err != nil {
		return result{}, err
	}
	defer r.stop()
	if err := r.warmUp(ctx); err != nil {
		return result{}, err
	}

	return r.measure(ctx, steady)
}

// trial is a server and its clients, who have all joined.
type trial struct {
	scenario           scenario
	name               string
	directory          string
	server             running
	senders, receivers *loader // The same one where nobody only receives.
}

func startTrial(ctx context.Context, s server, c scenario) (*trial, error) {
	t := &trial{scenario: c, name: s.name}
	if err := t.start(ctx, s); err != nil {
		t.stop()

		return nil, err
	}

	return t, nil
}

func (t *trial) start(ctx context.Context, s server) error {
	var err error
	if t.directory, err = os.MkdirTemp("", "nagi-bench-"); err != nil {
		return fmt.Errorf("make a directory for configuration: %w", err)
	}
	c := t.scenario
	if t.server, err = s.start(ctx, t.directory, c); err != nil {
		return err
	}
	config := loadConfig{
		Protocol:  s.protocol,
		Address:   t.server.address,
		Audio:     c.audio,
		Sink:      c.sink,
		Silent:    c.silent,
		BothCores: c.unpinned,
	}
	sending, receiving := config, config
	sending.Senders, sending.Conference, sending.Frame, sending.FPS = c.senders, c.conference, c.frame, c.fps
	sending.Layers, receiving.Layers = c.layers, c.layers
	sending.Speakers = c.speakers
	receiving.Receivers, receiving.Paused, receiving.Feeds = c.receivers, c.paused, c.senders
	if t.senders, err = startLoad(ctx, sending); err != nil {
		return fmt.Errorf("start the senders: %w; the server's last words: %s", err, t.server.process.output)
	}
	t.receivers = t.senders
	if c.receivers > 0 {
		// A process of its own, so that receiving never delays the sender's bursts.
		if t.receivers, err = startLoad(ctx, receiving); err != nil {
			return fmt.Errorf("start the receivers: %w; the server's last words: %s", err, t.server.process.output)
		}
	}

	return nil
}

// stop ends what was started of it.
func (t *trial) stop() {
	if t.receivers != nil && t.receivers != t.senders {
		t.receivers.stop()
	}
	if t.senders != nil {
		t.senders.stop()
	}
	if t.server.process != nil {
		t.server.stop()
	}
	_ = os.RemoveAll(t.directory)
}

// warmUp sends until every edge carries media and nothing arrives where it must
// not, for a while.
func (t *trial) warmUp(ctx context.Context) error {
	deadline := time.Now().Add(warmUpLimit)
	if err := t.senders.command(ctx, "start", nil); err != nil {
		return err
	}
	want := t.scenario.streams() * t.scenario.heard()
	since, paused := time.Now(), uint64(0)
	for time.Since(since) < settling {
		if err := sleep(ctx, settling/10); err != nil {
			return err
		}
		if t.server.process.hasExited() {
			return fmt.Errorf("the server ended; its last words: %s", t.server.process.output)
		}
		now, err := t.receivers.statistics(ctx)
		if err != nil {
			return err
		}
		if now.Streams == want && now.PausedReceived == paused {
			continue
		}
		since, paused = time.Now(), now.PausedReceived
		if since.After(deadline) {
			return fmt.Errorf("%d of %d streams flow and %d packets reached paused receivers; the server's last words: %s",
				now.Streams, want, paused, t.server.process.output)
		}
	}
	if err := t.quiesce(ctx); err != nil || !t.scenario.sink {
		return err
	}

	return t.receivers.command(ctx, "drain", nil)
}

// quiesce ends the sending and waits until nothing more arrives.
func (t *trial) quiesce(ctx context.Context) error {
	if err := t.senders.command(ctx, "stop", nil); err != nil {
		return err
	}
	deadline := time.Now().Add(drainLimit)
	for last, quiet := uint64(0), time.Duration(0); quiet < drain && time.Now().Before(deadline); quiet += drainStep {
		now, err := t.receivers.statistics(ctx)
		if err != nil {
			return err
		}
		if all := now.Received + now.PausedReceived; all != last {
			last, quiet = all, 0
		}
		if err := sleep(ctx, drainStep); err != nil {
			return err
		}
	}

	return nil
}

// measure sends for the given time between two silences, so that what was sent
// and what arrived can be compared to the packet.
func (t *trial) measure(ctx context.Context, steady time.Duration) (result, error) {
	// Being asked for metrics costs the server something: not between the readings
	// of its processor time.
	before, err := readMetrics(ctx, t.server.metrics)
	if err != nil {
		return result{}, err
	}
	first, err := t.read(ctx)
	if err != nil {
		return result{}, err
	}
	begin := time.Now()
	if err := t.senders.command(ctx, "start", nil); err != nil {
		return result{}, err
	}
	if err := sleep(ctx, steady); err != nil {
		return result{}, err
	}
	elapsed := time.Since(begin)
	if err := t.quiesce(ctx); err != nil {
		return result{}, err
	}
	last, err := t.read(ctx)
	if err != nil {
		return result{}, err
	}
	first.metrics = before
	if last.metrics, err = readMetrics(ctx, t.server.metrics); err != nil {
		return result{}, err
	}
	measured := newResult(t.scenario, first, last, elapsed)
	measured.Server, measured.SRTPProfile = t.name, t.profile()
	memory, err := t.server.process.residentMegabytes()
	measured.RSS = *rounded(memory)

	return measured, err
}

func (t *trial) read(ctx context.Context) (reading, error) {
	var now reading
	var err error
	if now.sent, err = t.senders.statistics(ctx); err != nil {
		return now, err
	}
	if now.received, err = t.receivers.statistics(ctx); err != nil {
		return now, err
	}
	now.cpu, err = t.server.process.cpu()

	return now, err
}

// profile is what all clients agreed on with the server; more than one is told
// as such.
func (t *trial) profile() string {
	all := slices.Concat(t.senders.profiles, t.receivers.profiles)
	slices.Sort(all)

	return strings.Join(slices.Compact(all), "+")
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
