//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// fillers is how many creates are under way at once where only their end matters.
const fillers = 32

// edgePause is a pause of one edge. Its name tells what it is for.
func edgePause(in, name, channelID, receiver, sender string) *v1alpha1.RtpStreamPause {
	return &v1alpha1.RtpStreamPause{
		ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: name},
		Spec: v1alpha1.RtpStreamPauseSpec{
			ChannelID: channelID,
			Receivers: v1alpha1.Side{ConnectionIDs: []string{receiver}},
			Senders:   v1alpha1.Side{ConnectionIDs: []string{sender}},
		},
	}
}

// fill creates pauses from the one numbered from up to, not with, the one
// numbered to: one channel after another gets its first, then its second.
func (b *bench) fill(ctx context.Context, from, to int) error {
	began := time.Now()
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(fillers)
	for number := from; number < to && groupContext.Err() == nil; number++ {
		if number%20_000 == 0 && number > from {
			b.say("%d pauses created", number)
		}
		group.Go(func() error {
			channel := number % b.options.channels
			receiver, sender := smallEdge(number / b.options.channels)
			object := edgePause(namespace, fmt.Sprintf("fill-%06d", number), channelName(channel),
				connectionName(channel, receiver), connectionName(channel, sender))
			if err := b.system.api.Create(groupContext, object); err != nil {
				return fmt.Errorf("create %s: %w", object.Name, err)
			}

			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.say("%d pauses created in %s", to-from, time.Since(began).Round(time.Second))
	if err := b.fleet.awaitHeld(ctx, to); err != nil {
		return err
	}

	return b.settle(ctx)
}

// settle waits until the manager has nothing to write any more.
func (b *bench) settle(ctx context.Context) error {
	const calm, limit = 3 * time.Second, 15 * time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the manager still writes status after %s", limit))
	defer cancel()
	last, since := -1.0, time.Now()
	for {
		m, err := b.system.managerFigures(ctx)
		if err != nil {
			return err
		}
		if writes := m["nagi_pause_status_writes_total"]; writes != last {
			last, since = writes, time.Now()
		}
		if time.Since(since) >= calm {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// removeAll deletes many.
func (b *bench) removeAll(ctx context.Context, objects []*v1alpha1.RtpStreamPause) error {
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(fillers)
	for _, object := range objects {
		group.Go(func() error { return b.remove(groupContext, object) })
	}

	return group.Wait()
}

// remove deletes an object that a measure made.
func (b *bench) remove(ctx context.Context, object client.Object) error {
	if err := client.IgnoreNotFound(b.system.api.Delete(ctx, object)); err != nil {
		return fmt.Errorf("delete %s: %w", object.GetName(), err)
	}

	return nil
}
