//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

const (
	warmUp = 2 * time.Second
	// drain is how long nothing is sent before counters are read: then every
	// packet has either arrived or is lost.
	drain = 400 * time.Millisecond
)

// run measures one server in one case.
func run(ctx context.Context, s server, c scenario, steady time.Duration) (result, error) {
	directory, err := os.MkdirTemp("", "nagi-bench-")
	if err != nil {
		return result{}, fmt.Errorf("make a directory for configuration: %w", err)
	}
	defer func() { _ = os.RemoveAll(directory) }()

	r, err := s.start(ctx, directory, c)
	if err != nil {
		return result{}, err
	}
	defer r.stop()

	sending := loadConfig{Protocol: s.protocol, Address: r.address, Senders: c.senders, Conference: c.conference, Frame: c.frame, FPS: c.fps, Audio: c.audio}
	senders, err := startLoad(ctx, sending)
	if err != nil {
		return result{}, fmt.Errorf("start the sender: %w; the server's last words: %s", err, r.process.output)
	}
	defer senders.stop()
	receivers := senders
	if c.receivers > 0 {
		// A process of its own, so that receiving never delays the sender's bursts.
		receiving := loadConfig{Protocol: s.protocol, Address: r.address, Receivers: c.receivers, Paused: c.paused, Feeds: c.senders, Audio: c.audio}
		if receivers, err = startLoad(ctx, receiving); err != nil {
			return result{}, fmt.Errorf("start the receivers: %w; the server's last words: %s", err, r.process.output)
		}
		defer receivers.stop()
	}
	m := measurement{server: r, senders: senders, receivers: receivers, scenario: c}
	if err := m.warmUp(ctx); err != nil {
		return result{}, err
	}
	measured, err := m.measure(ctx, steady)
	measured.Server, measured.Case = s.name, c.name
	measured.SRTPProfile = "AEAD_AES_128_GCM" // The clients offer no other.
	return measured, err
}

// measurement drives a rig whose clients have all joined.
type measurement struct {
	server             running
	senders, receivers *loader
	scenario           scenario
}

// warmUp sends until every edge carries media and nothing arrives where it must
// not.
func (m measurement) warmUp(ctx context.Context) error {
	deadline := time.Now().Add(25 * time.Second)
	if err := m.senders.command(ctx, "start", nil); err != nil {
		return err
	}
	if err := sleep(ctx, warmUp); err != nil {
		return err
	}
	want := m.scenario.edges() * m.scenario.senders
	before, err := m.receivers.statistics(ctx)
	for {
		if err != nil {
			return err
		}
		if err := sleep(ctx, warmUp/2); err != nil {
			return err
		}
		var now statistics
		if now, err = m.receivers.statistics(ctx); err != nil {
			return err
		}
		if now.Streams == want && now.PausedReceived == before.PausedReceived {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d streams flow and %d packets reached paused receivers; the server's last words: %s",
				now.Streams, want, now.PausedReceived, m.server.process.output)
		}
		before = now
	}
	return m.quiesce(ctx)
}

func (m measurement) quiesce(ctx context.Context) error {
	if err := m.senders.command(ctx, "stop", nil); err != nil {
		return err
	}
	return sleep(ctx, drain)
}

// measure sends for the given time between two silences, so that what was sent
// and what arrived can be compared to the packet.
func (m measurement) measure(ctx context.Context, steady time.Duration) (result, error) {
	first, err := m.read(ctx)
	if err != nil {
		return result{}, err
	}
	begin := time.Now()
	if err := m.senders.command(ctx, "start", nil); err != nil {
		return result{}, err
	}
	if err := sleep(ctx, steady); err != nil {
		return result{}, err
	}
	if err := m.senders.command(ctx, "stop", nil); err != nil {
		return result{}, err
	}
	elapsed := time.Since(begin)
	if err := sleep(ctx, drain); err != nil {
		return result{}, err
	}
	last, err := m.read(ctx)
	if err != nil {
		return result{}, err
	}
	memory, err := m.server.process.residentMegabytes()
	if err != nil {
		return result{}, err
	}
	return newResult(m.scenario, first, last, elapsed, memory), nil
}

// reading is every counter at one moment.
type reading struct {
	sent, received statistics
	cpu            time.Duration
}

func (m measurement) read(ctx context.Context) (reading, error) {
	var r reading
	var err error
	if r.sent, err = m.senders.statistics(ctx); err != nil {
		return r, err
	}
	if r.received, err = m.receivers.statistics(ctx); err != nil {
		return r, err
	}
	r.cpu, err = m.server.process.cpu()
	return r, err
}

// loader is a process of clients.
type loader struct {
	process *process
	input   io.WriteCloser
	output  *bufio.Scanner
}

// startLoad starts a process of clients and waits until they have joined.
func startLoad(ctx context.Context, config loadConfig) (*loader, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own program: %w", err)
	}
	//nolint:gosec // The own program; the context's end is handled by stop.
	command := exec.CommandContext(context.WithoutCancel(ctx), self, "load")
	input, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	command.Stdout = writer
	p, err := startPinned(loadCore, command)
	_ = writer.Close() // The child has its own.
	if err != nil {
		_ = reader.Close()
		return nil, err
	}
	l := &loader{process: p, input: input, output: bufio.NewScanner(reader)}
	if err := json.NewEncoder(input).Encode(config); err != nil {
		l.stop()
		return nil, fmt.Errorf("configure the clients: %w", err)
	}
	if err := l.answer(ctx, nil); err != nil {
		l.stop()
		return nil, err
	}
	return l, nil
}

func (l *loader) command(ctx context.Context, word string, answer any) error {
	if _, err := fmt.Fprintln(l.input, word); err != nil {
		return fmt.Errorf("tell the clients %q: %w; their last words: %s", word, err, l.process.output)
	}
	return l.answer(ctx, answer)
}

func (l *loader) answer(ctx context.Context, into any) error {
	unblock := context.AfterFunc(ctx, func() { _ = l.process.command.Process.Kill() })
	defer unblock()
	if !l.output.Scan() {
		return fmt.Errorf("the clients ended: %s", l.process.output)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(l.output.Bytes(), into); err != nil {
		return fmt.Errorf("read the clients' answer %q: %w", l.output.Text(), err)
	}
	return nil
}

func (l *loader) statistics(ctx context.Context) (statistics, error) {
	var s statistics
	err := l.command(ctx, "statistics", &s)
	return s, err
}

func (l *loader) stop() {
	_ = l.input.Close()
	l.process.stop()
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
