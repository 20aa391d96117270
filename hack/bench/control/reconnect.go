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
// pauses go on being created at one that stays connected. How much of what those
// pauses wait is for the cores, which etcd, the API server and the manager share with
// the storm, the same storm over another manager tells.
func (b *bench) measureReconnect(ctx context.Context) error {
	calm, err := b.live(ctx, "calm", loadSeconds*liveRate)
	if err != nil {
		return err
	}
	elsewhere, err := b.elsewhere(ctx)
	if err != nil {
		return err
	}
	storm, err := b.prepareStorm(ctx, b.system.managerAddress)
	if err != nil {
		return err
	}
	busy, settled, err := b.weathered(ctx, "busy", func(ctx context.Context) error {
		return b.system.served(ctx, b.options, 1, func() error {
			b.fleet.disconnect()

			return storm.begin()
		})
	})
	// Back to the fleet that the next measure finds.
	if err = errors.Join(err, b.system.programs.End(ctx, storm.child)); err != nil {
		return err
	}
	if err := b.system.served(ctx, b.options, 1, b.fleet.start); err != nil {
		return err
	}
	b.note(figure{
		Measure: "reconnect", What: fmt.Sprintf("%d media servers reconnect → all answered", b.options.mediaServers),
		Unit: "s", Value: settled.Seconds(), Bound: bound(10),
	})
	detail := latencies(busy).spread("meanwhile_", latencies(calm).spread("before_", nil))
	detail = answers(busy).spread("meanwhile_answer_", answers(calm).spread("before_answer_", detail))
	b.note(figure{
		Measure: "reconnect", What: "create → enforced meanwhile, p99 beyond that before", Unit: "ms",
		Value: milliseconds(latencies(busy).percentile(99) - latencies(calm).percentile(99)), Bound: bound(50),
		Samples: len(busy), Detail: detail,
	})
	b.note(figure{
		Measure: "reconnect", What: "the same while they connect to another manager", Unit: "ms",
		Value: milliseconds(latencies(elsewhere).percentile(99) - latencies(calm).percentile(99)), Samples: len(elsewhere),
		Detail: latencies(elsewhere).spread("elsewhere_", answers(elsewhere).spread("elsewhere_answer_", nil)),
	})

	return nil
}

// elsewhere creates pauses while the storm goes over another manager, in which
// nothing that the pauses go through has a part.
func (b *bench) elsewhere(ctx context.Context) ([]enforced, error) {
	other, err := b.system.startOther(ctx)
	if err != nil {
		return nil, err
	}
	storm, err := b.prepareStorm(ctx, other.managerAddress)
	if err != nil {
		return nil, err
	}
	samples, _, err := b.weathered(ctx, "elsewhere", func(ctx context.Context) error {
		return other.served(ctx, b.options, 0, storm.begin)
	})

	return samples,
		errors.Join(err, b.system.programs.End(ctx, storm.child), b.system.programs.End(ctx, other.manager), b.settle(ctx))
}

// live creates one pause after another in a channel whose media server stays
// connected.
func (b *bench) live(ctx context.Context, name string, count int) ([]enforced, error) {
	channel, err := b.fleet.open(ctx, "live-"+name, 2)
	if err != nil {
		return nil, err
	}
	var samples []enforced
	ticker := time.NewTicker(time.Second / liveRate)
	defer ticker.Stop()
	for i := range count {
		object := edgePause(namespace, fmt.Sprintf("live-%s-%d", name, i), channel.id, channel.connection(0),
			channel.connection(1))
		sample, err := b.enforce(ctx, object)
		if err != nil {
			return nil, err
		}
		samples = append(samples, sample)
		if err := b.remove(ctx, object); err != nil {
			return nil, err
		}
		<-ticker.C
	}

	return samples, nil
}
