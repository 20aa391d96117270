//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const (
	// sustainedRounds are interleaved, ours and the library's.
	sustainedRounds = 3
	// sustainedPauses are created in a round.
	sustainedPauses = 2000
)

// measureSustained compares pauses by second, from the first create to the last
// status, with what the same library reaches that creates and writes a status to
// each object by itself, in a namespace that no manager watches.
func (b *bench) measureSustained(ctx context.Context) error {
	var ours, theirs []float64
	for round := range sustainedRounds {
		rate, err := b.sustain(ctx, fmt.Sprintf("alone-%d", round), aside)
		if err != nil {
			return err
		}
		theirs = append(theirs, rate)
		if rate, err = b.sustain(ctx, fmt.Sprintf("sustained-%d", round), namespace); err != nil {
			return err
		}
		ours = append(ours, rate)
	}
	b.note(figure{
		Measure: "sustained", What: "pauses by second ÷ create and status apply by the library alone", Unit: "×",
		Value: median(ours) / median(theirs), Bound: bound(0.8), AtLeast: true, Samples: sustainedRounds,
		Detail: map[string]float64{"pauses_per_second": median(ours), "library_per_second": median(theirs)},
	})

	return nil
}

// sustain creates pauses in the namespace and returns how many by second have got a
// status: the manager's, or where there is none our own.
func (b *bench) sustain(ctx context.Context, name, in string) (float64, error) {
	objects := make([]*v1alpha1.RtpStreamPause, sustainedPauses)
	before, err := b.system.managerFigures(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(fillers)
	for i := range objects {
		channel := (i * 53) % b.options.channels
		objects[i] = edgePause(in, fmt.Sprintf("%s-%d", name, i), channelName(channel),
			connectionName(channel, smallConnections-1), connectionName(channel, smallConnections-2))
		group.Go(func() error {
			if err := b.system.api.Create(groupContext, objects[i]); err != nil {
				return fmt.Errorf("create %s: %w", objects[i].Name, err)
			}
			if in == aside {
				return b.applyStatus(groupContext, objects[i])
			}

			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	for in == namespace {
		m, err := b.system.managerFigures(ctx)
		if err != nil {
			return 0, err
		}
		// At least one each: a status may be written twice.
		if m["nagi_pause_status_writes_total"]-before["nagi_pause_status_writes_total"] >= sustainedPauses {
			if done, err := b.allWritten(ctx, objects); err != nil || done {
				break
			}
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	rate := sustainedPauses / time.Since(began).Seconds()

	return rate, b.removeAll(ctx, objects)
}

// allWritten looks at the last objects created: the queue is worked off in order,
// but for a few that are in hand.
func (b *bench) allWritten(ctx context.Context, objects []*v1alpha1.RtpStreamPause) (bool, error) {
	for _, object := range objects[len(objects)-fillers:] {
		var now v1alpha1.RtpStreamPause
		if err := b.system.api.Get(ctx, client.ObjectKeyFromObject(object), &now); err != nil {
			return false, fmt.Errorf("get %s: %w", object.Name, err)
		}
		if now.Status.ObservedGeneration != now.Generation {
			return false, nil
		}
	}

	return true, nil
}

// applyStatus writes a status such as the manager's.
func (b *bench) applyStatus(ctx context.Context, object *v1alpha1.RtpStreamPause) error {
	condition := func(kind, reason string) map[string]any {
		return map[string]any{
			"type": kind, "status": "True", "reason": reason, "message": "Withheld by media server \"ms-0001\".",
			"observedGeneration": object.Generation, "lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
		}
	}
	status := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "RtpStreamPause",
		"metadata": map[string]any{
			"name": object.Name, "namespace": object.Namespace, "resourceVersion": object.ResourceVersion,
		},
		"status": map[string]any{
			"observedGeneration": object.Generation, "mediaServer": "ms-0001",
			"conditions": []any{condition(v1alpha1.ConditionReady, v1alpha1.ReasonEnforced),
				condition(v1alpha1.ConditionEnforced, v1alpha1.ReasonWithheld)},
		},
	}}
	err := b.system.api.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(status),
		client.FieldOwner("bench"), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("apply the status of %s: %w", object.Name, err)
	}

	return nil
}
