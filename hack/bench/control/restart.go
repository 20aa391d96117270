//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// liveRate is how many pauses a second are created while media servers reconnect.
const liveRate = 20

// measureReconnect lets all media servers open their streams anew at once, while
// pauses go on being created at one that stays connected.
func (b *bench) measureReconnect(ctx context.Context) error {
	calm, err := b.live(ctx, "calm", loadSeconds*liveRate)
	if err != nil {
		return err
	}
	var settled time.Duration
	settledError := make(chan error, 1)
	go func() {
		began := time.Now()
		err := b.fleet.reconnect(ctx, b.system)
		settled = time.Since(began)
		settledError <- err
	}()
	busy, err := b.live(ctx, "busy", loadSeconds*liveRate)
	if err = errors.Join(err, <-settledError); err != nil {
		return err
	}
	b.note(figure{
		Measure: "reconnect", What: fmt.Sprintf("%d media servers reconnect → all answered", b.options.mediaServers), Unit: "s",
		Value: settled.Seconds(), Bound: bound(10),
	})
	b.note(figure{
		Measure: "reconnect", What: "create → enforced meanwhile, p99 beyond that before", Unit: "ms",
		Value: milliseconds(busy.percentile(99) - calm.percentile(99)), Bound: bound(50), Samples: len(busy),
		Detail: busy.spread("meanwhile_", calm.spread("before_", nil)),
	})
	return nil
}

// live creates one pause after another in a channel whose media server stays
// connected.
func (b *bench) live(ctx context.Context, name string, count int) (durations, error) {
	channel, err := b.fleet.open(ctx, "live-"+name, 2)
	if err != nil {
		return nil, err
	}
	var samples durations
	ticker := time.NewTicker(time.Second / liveRate)
	defer ticker.Stop()
	for i := range count {
		object := edgePause(namespace, fmt.Sprintf("live-%s-%d", name, i), channel.id, channel.connection(0), channel.connection(1))
		sample, err := b.enforce(ctx, object)
		if err != nil {
			return nil, err
		}
		samples = append(samples, sample.enforced)
		if err := b.remove(ctx, object); err != nil {
			return nil, err
		}
		<-ticker.C
	}
	return samples, nil
}

// measureRestart ends the manager and starts another at its address.
func (b *bench) measureRestart(ctx context.Context) error {
	if err := b.system.end(ctx, b.system.manager); err != nil {
		return err
	}
	began := time.Now()
	// It is ready when its cache is in sync.
	if err := b.system.startManager(ctx); err != nil {
		return err
	}
	synced := time.Now()
	if err := b.fleet.awaitServed(ctx, b.system, nil); err != nil {
		return err
	}
	b.note(figure{
		Measure: "restart", What: "a restarted manager's cache is in sync → every subscription is served", Unit: "s",
		Value: time.Since(synced).Seconds(), Bound: bound(5), Detail: map[string]float64{"start_to_sync": synced.Sub(began).Seconds()},
	})
	if err := b.settle(ctx); err != nil {
		return err
	}
	now, highest, err := resident(b.system.manager)
	if err != nil {
		return err
	}
	b.note(figure{
		Measure: "restart", What: "RSS of the restarted manager", Unit: "MB", Value: now, Bound: bound(300), Detail: map[string]float64{"highest": highest},
	})
	return nil
}
