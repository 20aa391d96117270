//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// measureCrowd lets newcomers join a channel of very many connections in which
// pauses with an open side act, one for each of so many senders.
func (b *bench) measureCrowd(ctx context.Context) error {
	senders := b.options.crowdPauses
	channel, err := b.fleet.openCrowd(ctx, "crowd", senders, b.options.crowd)
	if err != nil {
		return err
	}
	uids := make([]string, senders)
	for i := range senders {
		object := edgePause(namespace, fmt.Sprintf("crowd-%d", i), channel.id, "", "")
		object.Spec.Receivers = v1alpha1.Side{Everyone: &v1alpha1.Everyone{}}
		object.Spec.Senders = v1alpha1.Side{ClientIDs: []string{channel.client(i)}}
		if err := b.system.api.Create(ctx, object); err != nil {
			return fmt.Errorf("create %s: %w", object.Name, err)
		}
		uids[i] = string(object.UID)
		if err := b.fleet.awaitUID(ctx, uids[i], true); err != nil {
			return err
		}
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	var matched, acknowledged durations
	for i := range b.options.samples {
		began := time.Now()
		newcomer, err := channel.join()
		if err != nil {
			return err
		}
		matched = append(matched, time.Since(began))
		at := i % senders
		waiting, cancel := context.WithTimeoutCause(ctx, enforceLimit, fmt.Errorf("not within %s", enforceLimit))
		_, err = b.system.view.WaitEnforced(waiting, &forwardingv1.WaitEnforcedRequest{
			Namespace: namespace, Uid: uids[at],
			Edge: &forwardingv1.EdgeName{RecvConnectionId: newcomer, SendConnectionId: channel.connection(at)},
		})
		cancel()
		if err != nil {
			return fmt.Errorf("wait until the newcomer's edge is acknowledged: %w", err)
		}
		acknowledged = append(acknowledged, time.Since(began))
	}
	b.note(figure{
		Measure: "crowd",
		What: fmt.Sprintf("join to %d connections with %d open-side pauses → its edges are in force, p99",
			b.options.crowd, senders),
		Unit: "ms", Value: milliseconds(matched.percentile(99)), Bound: bound(50), Samples: len(matched),
		Detail: matched.spread("", nil),
	})
	b.note(figure{
		Measure: "crowd", What: "the same until a manager knows it, p99", Unit: "ms",
		Value: milliseconds(acknowledged.percentile(99)), Bound: bound(50), Samples: len(acknowledged),
		Detail: acknowledged.spread("", nil),
	})

	return nil
}
