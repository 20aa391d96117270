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
)

// loader is a process of clients.
type loader struct {
	process  *process
	input    io.WriteCloser
	output   *bufio.Scanner
	profiles []string // SRTP profiles that they agreed on.
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
	core := loadCore
	if config.BothCores {
		core = anyCore
	}
	p, err := startPinned(core, command)
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
	var answer joined
	if err := l.answer(ctx, &answer); err != nil {
		l.stop()

		return nil, err
	}
	l.profiles = answer.SRTPProfiles

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
