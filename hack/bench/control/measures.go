//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// measure is one chapter of the run.
type measure struct {
	name string
	run  func(*bench, context.Context) error
}

// measures in their order: each finds the system as the one before has left it,
// filled with all objects.
func measures() []measure {
	return []measure{
		{"change", (*bench).measureChange}, // Fills.
		{"memory", (*bench).measureMemory},
		{"idle", (*bench).measureIdle},
		{"enforce", (*bench).measureEnforce},
		{"sustained", (*bench).measureSustained},
		{"crowded", (*bench).measureCrowded},
		{"crowd", (*bench).measureCrowd},
		{"reconnect", (*bench).measureReconnect},
		{"restart", (*bench).measureRestart},
	}
}

func measureNames() []string {
	var names []string
	for _, m := range measures() {
		names = append(names, m.name)
	}

	return names
}

func (b *bench) run(ctx context.Context) (err error) {
	b.say("starting etcd, kube-apiserver, manager and shim")
	if b.system, err = startSystem(ctx, b.options.root); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.system.stop(ctx)) }()
	if err := errors.Join(b.system.startManager(ctx), b.system.startShim(ctx)); err != nil {
		return err
	}
	b.say("connecting %d media servers with %d channels", b.options.mediaServers, b.options.channels)
	if b.fleet, err = startFleet(ctx, b.options, b.system); err != nil {
		return err
	}
	defer b.fleet.stop()
	for _, m := range measures() {
		if len(b.options.only) > 0 && !slices.Contains(b.options.only, m.name) {
			if m.name == "change" {
				if err := b.fill(ctx, 0, b.options.objects); err != nil {
					return err
				}
			}

			continue
		}
		b.say("measuring: %s", m.name)
		if err := m.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}

	return nil
}

// measureChange compares what one change costs with few and with all objects, and
// counts who hears of it.
func (b *bench) measureChange(ctx context.Context) error {
	if err := b.fill(ctx, 0, b.options.few); err != nil {
		return err
	}
	few, err := b.changes(ctx)
	if err != nil {
		return err
	}
	if err := b.fill(ctx, b.options.few, b.options.objects); err != nil {
		return err
	}
	all, err := b.changes(ctx)
	if err != nil {
		return err
	}
	b.note(figure{
		Measure: "change",
		What:    "media servers that got one change",
		Unit:    "per change",
		Value:   all.reached,
		Bound:   bound(1),
		Samples: b.options.samples,
		Detail:  map[string]float64{"with_few": few.reached},
	})
	for _, f := range []struct {
		what     string
		few, all float64
	}{
		{"manager's CPU, all ÷ few objects", few.cpu, all.cpu},
		{"create → enforced p50, all ÷ few objects", milliseconds(few.latency.percentile(50)),
			milliseconds(all.latency.percentile(50))},
	} {
		b.note(figure{
			Measure: "change", What: f.what, Unit: "×", Value: f.all / f.few, Bound: bound(1.5), Samples: b.options.samples,
			Detail: map[string]float64{"few_ms": f.few, "all_ms": f.all},
		})
	}

	return nil
}

type changeCost struct {
	reached float64 // Media servers by change.
	cpu     float64 // Of the manager, ms by create and delete, statuses included.
	latency durations
}

// changes creates and deletes one pause after another, in different channels.
func (b *bench) changes(ctx context.Context) (changeCost, error) {
	var cost changeCost
	before, err := cpu(b.system.manager)
	if err != nil {
		return cost, err
	}
	applied := b.fleet.applied()
	for i := range b.options.samples {
		channel := (i * 37) % b.options.channels
		object := edgePause(namespace, fmt.Sprintf("change-%d", i), channelName(channel),
			connectionName(channel, smallConnections-1), connectionName(channel, smallConnections-2))
		sample, err := b.enforce(ctx, object)
		if err != nil {
			return cost, err
		}
		cost.latency = append(cost.latency, sample.enforced)
		if err := b.remove(ctx, object); err != nil {
			return cost, err
		}
		if err := b.fleet.awaitUID(ctx, string(object.UID), false); err != nil {
			return cost, err
		}
	}
	after, err := cpu(b.system.manager)
	if err != nil {
		return cost, err
	}
	cost.reached = float64(b.fleet.applied()-applied) / float64(2*b.options.samples)
	cost.cpu = milliseconds(after-before) / float64(b.options.samples)

	return cost, nil
}

func (b *bench) measureMemory(context.Context) error {
	now, highest, err := resident(b.system.manager)
	if err != nil {
		return err
	}
	b.note(figure{
		Measure: "memory",
		What:    fmt.Sprintf("manager's RSS with %d objects", b.options.objects),
		Unit:    "MB",
		Value:   now,
		Bound:   bound(300),
		Detail:  map[string]float64{"highest": highest},
	})

	return nil
}

func (b *bench) measureIdle(ctx context.Context) error {
	const quiet = 30 * time.Second
	before, err := cpu(b.system.manager)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(quiet):
	}
	after, err := cpu(b.system.manager)
	if err != nil {
		return err
	}
	b.note(figure{
		Measure: "idle", What: fmt.Sprintf("manager's CPU while nothing changes, %d streams", b.options.mediaServers),
		Unit: "% of a core", Value: 100 * float64(after-before) / float64(quiet), Bound: bound(2),
	})

	return nil
}
