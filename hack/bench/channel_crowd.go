//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// joiningTogether is how many clients join at a time while the channel is filled.
	joiningTogether = 10
	// settledAfter is how long no message may come before everybody counts as settled.
	settledAfter = 100 * time.Millisecond
	// idling is how long nothing happens, to learn what the server costs then.
	idling = 2 * time.Second
)

// channelCrowd is all clients of one channel, by index.
type channelCrowd struct {
	server running
	kind   channelKind
	tally  channelTally

	mu      sync.Mutex
	clients []*channelClient
	joined  int // So far, for the names.

	lifetime context.Context //nolint:containedctx // Clients outlive the call that joins them.
	identity *dtlsIdentity
}

func newChannelCrowd(ctx context.Context, server running, kind channelKind) *channelCrowd {
	return &channelCrowd{server: server, kind: kind, lifetime: ctx}
}

func (c *channelCrowd) close() {
	var all errgroup.Group
	for _, client := range c.clients {
		if client != nil {
			all.Go(func() error {
				client.close()

				return nil
			})
		}
	}
	_ = all.Wait() // They have no errors.
}

// join lets the client with an index come.
func (c *channelCrowd) join(index int) error {
	c.mu.Lock()
	c.joined++
	name := fmt.Sprintf("client-%d", c.joined)
	c.mu.Unlock()
	client, err := joinChannel(c.lifetime, c.server.address, c.kind.role(index), name, c.identity, &c.tally)
	if err != nil {
		return c.failed(fmt.Errorf("%s joins: %w", name, err))
	}
	c.mu.Lock()
	c.clients[index] = client
	c.mu.Unlock()

	return nil
}

// leave lets it go.
func (c *channelCrowd) leave(index int) {
	c.clients[index].close()
	c.clients[index] = nil
}

func (c *channelCrowd) failed(err error) error {
	if first := c.tally.failure.Load(); first != nil {
		return fmt.Errorf("%w; %w", err, *first)
	}

	return err
}

// fill lets everybody join, senders first, and waits until all is settled.
func (c *channelCrowd) fill(size int) error {
	var err error
	if c.identity, err = newDTLSIdentity(); err != nil {
		return err
	}
	c.clients = make([]*channelClient, size)
	group, _ := errgroup.WithContext(c.lifetime)
	group.SetLimit(joiningTogether)
	for index := range size {
		group.Go(func() error { return c.join(index) })
	}
	if err := group.Wait(); err != nil {
		return err
	}

	return c.settle()
}

// settle waits until everybody there has been offered the streams of all senders there,
// has answered, and hears nothing more.
func (c *channelCrowd) settle() error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	heard, since := c.tally.messages.Load(), time.Now()
	for {
		select {
		case <-ticker.C:
		case <-c.lifetime.Done():
			return c.failed(fmt.Errorf("wait until everybody has been offered everything: %w", context.Cause(c.lifetime)))
		}
		if c.tally.failure.Load() != nil {
			return c.failed(fmt.Errorf("wait until everybody has been offered everything"))
		}
		now := c.tally.messages.Load()
		if now != heard || !c.complete() {
			heard, since = now, time.Now()
		}
		if time.Since(since) >= settledAfter {
			return nil
		}
	}
}

// complete: everybody has the streams that there are.
func (c *channelCrowd) complete() bool {
	there := 0
	for _, client := range c.clients {
		if client != nil {
			there++
		}
	}
	for index, client := range c.clients {
		if client != nil && client.streams.Load() != int64(c.kind.streams(index, there)) {
			return false
		}
	}

	return true
}

// reading is what has been counted, and what the server has used, up to a moment.
type channelReading struct {
	reoffers, lines int64
	cpu             time.Duration
	at              time.Time
}

func (c *channelCrowd) read() (channelReading, error) {
	cpu, err := c.server.process.cpu()

	return channelReading{reoffers: c.tally.reoffers.Load(), lines: c.tally.lines.Load(), cpu: cpu, at: time.Now()}, err
}

// part is what came of something that was done until all was settled again: what the server
// used for it is without what it uses in that time when nothing happens.
type channelPart struct {
	reoffers, lines int64
	cpu, elapsed    time.Duration
}

func (p *channelPart) add(first, last channelReading, idle float64) {
	elapsed := last.at.Sub(first.at)
	p.reoffers += last.reoffers - first.reoffers
	p.lines += last.lines - first.lines
	p.cpu += last.cpu - first.cpu - time.Duration(idle*float64(elapsed))
	p.elapsed += elapsed
}

// measured does something, waits until all is settled, and adds what it cost.
func (c *channelCrowd) measured(part *channelPart, idle float64, do func() error) error {
	first, err := c.read()
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	if err := c.settle(); err != nil {
		return err
	}
	last, err := c.read()
	part.add(first, last, idle)

	return err
}

// idle is the part of a core that the server uses when nothing happens.
func (c *channelCrowd) idle() (float64, error) {
	var part channelPart
	err := c.measured(&part, 0, func() error {
		select {
		case <-time.After(idling):
			return nil
		case <-c.lifetime.Done():
			return fmt.Errorf("idle: %w", context.Cause(c.lifetime))
		}
	})

	return part.cpu.Seconds() / part.elapsed.Seconds(), err
}

// live is the server's memory in use: what its last collection found, and stacks.
func (c *channelCrowd) live(ctx context.Context) (float64, metrics, error) {
	m, err := readMetrics(ctx, c.server.metrics)

	return m["go_gc_heap_live_bytes"] + m["go_memstats_stack_inuse_bytes"], m, err
}
