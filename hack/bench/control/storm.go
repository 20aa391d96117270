//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/child"
)

// stormCommand makes the program a fleet alone: it has all channels, and its media
// servers open their streams when it gets SIGUSR1.
const stormCommand = "storm"

// runStorm runs until the context ends. The arguments are the manager's address, and
// how many channels and media servers there are.
func runStorm(ctx context.Context, arguments []string) error {
	if len(arguments) != 3 {
		return fmt.Errorf("%s: give the manager's address, channels and media servers", stormCommand)
	}
	channels, channelsError := strconv.Atoi(arguments[1])
	mediaServers, mediaServersError := strconv.Atoi(arguments[2])
	if err := errors.Join(channelsError, mediaServersError); err != nil {
		return fmt.Errorf("%s: %w", stormCommand, err)
	}
	begin := make(chan os.Signal, 1)
	signal.Notify(begin, syscall.SIGUSR1)
	defer signal.Stop(begin)
	f := newFleet(options{channels: channels, mediaServers: mediaServers}, arguments[0])
	slog.New(slog.NewTextHandler(os.Stderr, nil)).Info("listening", "what", stormCommand)
	select {
	case <-ctx.Done():
		return nil
	case <-begin:
	}
	if err := f.start(); err != nil {
		return err
	}
	<-ctx.Done()
	f.disconnect()

	return nil
}

// storm is the fleet in a process of its own, which gets what the other processes
// leave of the cores: in production, media servers have cores of their own.
type storm struct{ child *child.Child }

// prepareStorm has the fleet ready to connect to the manager's address.
func (b *bench) prepareStorm(ctx context.Context, manager string) (*storm, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own program: %w", err)
	}
	c, err := b.system.programs.Spawn(stormCommand, "/usr/bin/nice", "-n", "19", self, stormCommand, manager,
		strconv.Itoa(b.options.channels), strconv.Itoa(b.options.mediaServers))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not within %s", startLimit))
	defer cancel()
	_, err = c.Announced(ctx, stormCommand)

	return &storm{c}, err
}

// begin opens all streams.
func (s *storm) begin() error {
	if err := syscall.Kill(s.child.PID(), syscall.SIGUSR1); err != nil {
		return fmt.Errorf("have the fleet connect: %w", err)
	}

	return nil
}

// weathered creates pauses while a storm goes over a manager, and returns their
// samples and how long it took to settle.
func (b *bench) weathered(
	ctx context.Context, name string, settle func(context.Context) error,
) (live []enforced, settled time.Duration, err error) {
	settling := make(chan error, 1)
	began := time.Now()
	go func() {
		err := settle(ctx)
		settled = time.Since(began)
		settling <- err
	}()
	live, err = b.live(ctx, name, loadSeconds*liveRate)
	err = errors.Join(err, <-settling)

	return live, settled, err
}
