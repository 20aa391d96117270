//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const (
	// enforceLimit bounds the wait for one pause.
	enforceLimit = 30 * time.Second
	// loadSeconds is how long each rate is kept up.
	loadSeconds = 10
)

// enforced is one pause, by the time since its create was sent.
type enforced struct {
	began    time.Time
	created  time.Duration // The API server's answer.
	watched  time.Duration // The event of a watch of our own; 0: not looked at.
	enforced time.Duration // View's answer that the media server withholds the edge.
}

// latencies are what it took until the samples were enforced, answers what of it the
// API server took to answer.
func latencies(samples []enforced) (d durations) {
	for _, s := range samples {
		d = append(d, s.enforced)
	}

	return d
}

func answers(samples []enforced) (d durations) {
	for _, s := range samples {
		d = append(d, s.created)
	}

	return d
}

// enforce creates the object and waits until its edge is withheld.
func (b *bench) enforce(ctx context.Context, object *v1alpha1.RtpStreamPause) (enforced, error) {
	e := enforced{began: time.Now()}
	ctx, cancel := context.WithTimeoutCause(ctx, enforceLimit, fmt.Errorf("not within %s", enforceLimit))
	defer cancel()
	if err := b.system.api.Create(ctx, object); err != nil {
		return e, fmt.Errorf("create %s: %w", object.Name, err)
	}
	e.created = time.Since(e.began)
	_, err := b.system.view.WaitEnforced(ctx, &forwardingv1.WaitEnforcedRequest{
		Namespace: namespace, Uid: string(object.UID),
		Edge: &forwardingv1.EdgeName{
			RecvConnectionId: object.Spec.Receivers.ConnectionIDs[0], SendConnectionId: object.Spec.Senders.ConnectionIDs[0],
		},
	})
	if err != nil {
		return e, fmt.Errorf("wait until %s is enforced: %w", object.Name, err)
	}
	e.enforced = time.Since(e.began)

	return e, nil
}

// watcher is a watch of our own on all pauses: the raw way from create to watch.
type watcher struct {
	watch watch.Interface
	done  chan struct{}

	mu   sync.Mutex
	seen map[types.UID]time.Time
}

func (b *bench) watchPauses(ctx context.Context) (*watcher, error) {
	// From now on: what is there already is of no interest.
	var now v1alpha1.RtpStreamPauseList
	if err := b.system.api.List(ctx, &now, client.InNamespace(namespace), client.Limit(1)); err != nil {
		return nil, fmt.Errorf("read the collection's version: %w", err)
	}
	from := &client.ListOptions{Namespace: namespace, Raw: &metav1.ListOptions{ResourceVersion: now.ResourceVersion}}
	w, err := b.system.api.Watch(ctx, &v1alpha1.RtpStreamPauseList{}, from)
	if err != nil {
		return nil, fmt.Errorf("watch RtpStreamPause: %w", err)
	}
	own := &watcher{watch: w, done: make(chan struct{}), seen: map[types.UID]time.Time{}}
	go own.follow()

	return own, nil
}

func (w *watcher) follow() {
	defer close(w.done)
	for e := range w.watch.ResultChan() {
		at := time.Now()
		if pause, ok := e.Object.(*v1alpha1.RtpStreamPause); ok && e.Type == watch.Added {
			w.mu.Lock()
			w.seen[pause.UID] = at
			w.mu.Unlock()
		}
	}
}

func (w *watcher) at(uid types.UID) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.seen[uid]
}

func (w *watcher) stop() {
	w.watch.Stop()
	<-w.done
}

// measureEnforce creates pauses at several rates, and compares the way to the media
// server's acknowledgement with the raw way to a watch, for the same objects.
func (b *bench) measureEnforce(ctx context.Context) error {
	for _, rate := range []int{1, 50, 200} {
		own, err := b.watchPauses(ctx)
		if err != nil {
			return err
		}
		samples, err := b.load(ctx, fmt.Sprintf("rate-%d", rate), rate, max(loadSeconds*rate, 20), own)
		own.stop()
		if err != nil {
			return err
		}
		created, acting := answers(samples), latencies(samples)
		var watched durations
		for _, s := range samples {
			if s.watched > 0 {
				watched = append(watched, s.watched)
			}
		}
		detail := watched.spread("watch_", acting.spread("enforced_", created.spread("answer_", nil)))
		detail["watch_samples"] = float64(len(watched))
		for _, p := range []float64{50, 99} {
			b.note(figure{
				Measure: "enforce", What: fmt.Sprintf("create → enforced at %d/s, p%.0f", rate, p), Unit: "ms",
				Value: milliseconds(acting.percentile(p)), Samples: len(samples), Detail: detail,
			})
		}
		b.note(figure{
			Measure: "enforce", What: fmt.Sprintf("create → enforced ÷ create → watch at %d/s, p50", rate), Unit: "×",
			Value: float64(acting.percentile(50)) / float64(watched.percentile(50)), Samples: len(samples),
		})
	}

	return nil
}

// load creates count pauses at a rate by second, whatever the earlier ones do, and
// deletes them when all are enforced.
func (b *bench) load(ctx context.Context, name string, rate, count int, own *watcher) ([]enforced, error) {
	samples := make([]enforced, count)
	objects := make([]*v1alpha1.RtpStreamPause, count)
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	group, groupContext := errgroup.WithContext(ctx)
	for i := range count {
		channel := (i * 101) % b.options.channels
		objects[i] = edgePause(namespace, fmt.Sprintf("%s-%d", name, i), channelName(channel),
			connectionName(channel, smallConnections-1), connectionName(channel, smallConnections-2))
		group.Go(func() (err error) {
			samples[i], err = b.enforce(groupContext, objects[i])

			return err
		})
		select {
		case <-groupContext.Done():
		case <-ticker.C:
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := b.removeAll(ctx, objects); err != nil {
		return nil, err
	}
	if err := b.fleet.awaitHeld(ctx, b.options.objects); err != nil {
		return nil, err
	}
	// Long since, all of them have come.
	for i, object := range objects {
		if at := own.at(object.UID); !at.IsZero() {
			samples[i].watched = at.Sub(samples[i].began)
		}
	}

	return samples, nil
}
