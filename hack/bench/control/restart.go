//go:build linux

package main

import (
	"context"
	"time"
)

// measureRestart ends the manager and starts another at its address.
func (b *bench) measureRestart(ctx context.Context) error {
	if err := b.system.programs.End(ctx, b.system.manager); err != nil {
		return err
	}
	began := time.Now()
	// It is ready when its cache is in sync.
	if err := b.system.startManager(ctx); err != nil {
		return err
	}
	synced := time.Now()
	if err := b.system.awaitServed(ctx, b.options, 1, nil); err != nil {
		return err
	}
	b.note(figure{
		Measure: "restart", What: "a restarted manager's cache is in sync → every subscription is served", Unit: "s",
		Value: time.Since(synced).Seconds(), Bound: bound(5),
		Detail: map[string]float64{"start_to_sync": synced.Sub(began).Seconds()},
	})
	if err := b.settle(ctx); err != nil {
		return err
	}
	now, highest, err := resident(b.system.manager)
	if err != nil {
		return err
	}
	b.note(figure{
		Measure: "restart",
		What:    "RSS of the restarted manager",
		Unit:    "MB",
		Value:   now,
		Bound:   bound(300),
		Detail:  map[string]float64{"highest": highest},
	})

	return nil
}
