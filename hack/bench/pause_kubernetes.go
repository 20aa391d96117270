//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const eventLimit = 10 * time.Second

// kubernetes is an API client, and a watch of its own on all pauses.
type kubernetes struct {
	api      client.WithWatch
	http     *http.Client
	end      context.CancelFunc
	watching sync.WaitGroup

	mu      sync.Mutex
	events  []event
	changed chan struct{} // Closed, and replaced, at each event.
	failed  error
}

// event is one that the watch brought.
type event struct {
	at            time.Time
	kind          watch.EventType
	name, channel string
	uid           types.UID
}

func connectKubernetes(ctx context.Context, kubeconfig string) (*kubernetes, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the API types: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS = -1 // No limit of the client's own.
	k := &kubernetes{changed: make(chan struct{})}
	if k.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, fmt.Errorf("make an HTTP client: %w", err)
	}
	if k.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme, HTTPClient: k.http}); err != nil {
		return nil, fmt.Errorf("make an API client: %w", err)
	}
	var lifetime context.Context
	lifetime, k.end = context.WithCancel(context.WithoutCancel(ctx))
	first, err := k.watch(lifetime)
	if err != nil {
		k.end()

		return nil, err
	}
	k.watching.Go(func() { k.follow(lifetime, first) })

	return k, nil
}

func (k *kubernetes) watch(ctx context.Context) (watch.Interface, error) {
	w, err := k.api.Watch(ctx, &v1alpha1.RtpStreamPauseList{}, client.InNamespace(namespace))
	if err != nil {
		return nil, fmt.Errorf("watch RtpStreamPause: %w", err)
	}

	return w, nil
}

// follow keeps what the watch brings. The API server ends watches now and then;
// an event that is lost meanwhile is an error of the round that misses it.
func (k *kubernetes) follow(ctx context.Context, w watch.Interface) {
	for {
		for e := range w.ResultChan() {
			k.note(e)
		}
		w.Stop()
		if ctx.Err() != nil {
			return
		}
		var err error
		if w, err = k.watch(ctx); err != nil {
			k.fail(err)

			return
		}
	}
}

func (k *kubernetes) note(e watch.Event) {
	at := time.Now()
	pause, ok := e.Object.(*v1alpha1.RtpStreamPause)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	const enough = 100
	if len(k.events) == enough {
		k.events = append(k.events[:0], k.events[enough/2:]...)
	}
	k.events = append(k.events, event{
		at: at, kind: e.Type, name: pause.Name, channel: pause.Spec.ChannelID, uid: pause.UID,
	})
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *kubernetes) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = err
	close(k.changed)
	k.changed = make(chan struct{})
}

// await waits for an event of a channel's object that came since a time.
func (k *kubernetes) await(ctx context.Context, since time.Time, kind watch.EventType, channel string) (event, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, eventLimit, fmt.Errorf("not within %s", eventLimit))
	defer cancel()
	for {
		k.mu.Lock()
		changed, failed := k.changed, k.failed
		for _, e := range k.events {
			if e.kind == kind && e.channel == channel && !e.at.Before(since) {
				k.mu.Unlock()

				return e, nil
			}
		}
		k.mu.Unlock()
		if failed != nil {
			return event{}, failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return event{}, fmt.Errorf("wait for the watch event %s: %w", kind, context.Cause(ctx))
		}
	}
}

// yardstick measures the API server alone: an object that pauses nobody, from
// creating and from deleting it to the event of our own watch.
func (k *kubernetes) yardstick(ctx context.Context) (yardstick, error) {
	l := yardstick{Server: "kube-apiserver", Way: "watch"}
	nobody := "nobody"
	object := newPause(nobody, v1alpha1.RtpStreamPauseSpec{
		ChannelID: nobody,
		Receivers: v1alpha1.Side{ClientIDs: []string{nobody}},
		Senders:   v1alpha1.Side{Everyone: &v1alpha1.Everyone{}},
	})
	if err := sleep(ctx, rand.N(phase)); err != nil {
		return l, err
	}
	created := time.Now()
	if err := k.api.Create(ctx, object); err != nil {
		return l, fmt.Errorf("create %s: %w", nobody, err)
	}
	added, err := k.await(ctx, created, watch.Added, nobody)
	if err != nil {
		return l, err
	}
	l.CreateToWatch = microseconds(added.at.Sub(created))
	// The manager writes the object's status meanwhile.
	if err := sleep(ctx, phase+rand.N(phase)); err != nil {
		return l, err
	}
	deleted := time.Now()
	if err := k.api.Delete(ctx, object); err != nil {
		return l, fmt.Errorf("delete %s: %w", nobody, err)
	}
	gone, err := k.await(ctx, deleted, watch.Deleted, nobody)
	if err != nil {
		return l, err
	}
	l.DeleteToWatch = microseconds(gone.at.Sub(deleted))

	return l, nil
}

func newPause(name string, spec v1alpha1.RtpStreamPauseSpec) *v1alpha1.RtpStreamPause {
	return &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
}

func (k *kubernetes) close() {
	k.end()
	k.watching.Wait()
	k.http.CloseIdleConnections()
}
