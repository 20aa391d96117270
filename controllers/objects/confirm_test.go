package objects

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

// collectionVersion is what a shim reads before it asks.
func collectionVersion(t testing.TB, namespace string) uint64 {
	t.Helper()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RtpStreamPauseList"))
	if err := k8s.List(context.Background(), list, client.InNamespace(namespace), client.Limit(1)); err != nil {
		t.Fatal(err)
	}
	version, err := parseVersion(list.ResourceVersion)
	if err != nil {
		t.Fatal(err)
	}

	return version
}

// nudge moves the collection's version by a write of something else, as leases and
// events do all the time: no event of a pause tells that version.
func nudge(ctx context.Context, namespace string) error {
	return client.IgnoreAlreadyExists(
		k8s.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "nudge-"}}),
	)
}

// load writes and deletes in the namespace, and asks, until the test ends.
func load(t testing.TB, s *following, writers int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				o := pauseOf(s.config.Namespace, fmt.Sprintf("load-%d-%d", w, i), "elsewhere")
				if err := k8s.Create(ctx, o); err != nil {
					continue
				}
				o.Spec.Reason = "edited"
				_ = k8s.Update(ctx, o)
				_ = nudge(ctx, s.config.Namespace)
				_ = k8s.Delete(ctx, o)
			}
		})
		work.Go(func() {
			for ctx.Err() == nil {
				_ = s.Confirm(ctx, s.Version()+1)
			}
		})
	}

	return sync.OnceFunc(func() { cancel(); work.Wait() })
}

func TestConfirmShowsEveryWriteBefore(t *testing.T) {
	for name, c := range map[string]struct{ writers, few int }{
		"alone": {0, 0}, "alone uncounted": {0, 1}, "beside load": {4, 0}, "load uncounted": {4, 1},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := newNamespace(t)
			create(t, namespace, "first")
			create(t, namespace, "second")
			s := follow(t, Config{Namespace: namespace, few: c.few})
			s.ready()
			stop := load(t, s, c.writers)
			defer stop()
			var took, read []time.Duration
			confirmed := func(what string, ok func() bool) {
				t.Helper()
				if len(took)%5 == 0 {
					if err := nudge(context.Background(), namespace); err != nil {
						t.Fatal(err)
					}
				}
				began := time.Now()
				version := collectionVersion(t, namespace)
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				read = append(read, time.Since(began))
				began = time.Now()
				if err := s.Confirm(ctx, version); err != nil {
					t.Fatal(err)
				}
				took = append(took, time.Since(began))
				if !ok() {
					t.Errorf("Confirm(%d) returned, and %s is not told", version, what)
				}
			}
			for round := range 500 / 4 {
				o := create(t, namespace, fmt.Sprint("mine-", round))
				confirmed("the creation", func() bool { return s.toldUID(o.UID) != nil })
				update(t, o, fmt.Sprint("edit-", round))
				confirmed("the edit", func() bool { return s.toldUID(o.UID).Spec.Reason == o.Spec.Reason })
				update(t, o, fmt.Sprint("again-", round))
				confirmed("the second edit", func() bool { return s.toldUID(o.UID).Spec.Reason == o.Spec.Reason })
				remove(t, o)
				confirmed("the deletion", func() bool { return s.toldUID(o.UID) == nil })
			}
			t.Logf("the read before took %s; Confirm took %s", quantiles(read), quantiles(took))
		})
	}
}

func quantiles(took []time.Duration) string {
	slices.Sort(took)

	return fmt.Sprintf("p50 %s, p99 %s, max %s", took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}

func (f *following) toldUID(uid types.UID) *held.Pause {
	f.mu.Lock()
	defer f.mu.Unlock()

	return f.mirror[uid]
}

func TestConfirmSaysWhyNot(t *testing.T) {
	namespace := newNamespace(t)
	p := newProxy(t, plane)
	s := follow(t, Config{Namespace: namespace, REST: p.config})
	s.ready()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Confirm(ctx, 1<<60); err == nil {
		t.Error("a version from the future was confirmed")
	} else {
		t.Log(err)
	}
	p.refuses(true)
	s.until("the store is stale", s.Stale)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Confirm(ctx, 1); err == nil {
		t.Error("a stale store has confirmed")
	} else {
		t.Log(err)
	}
	create(t, namespace, "meanwhile")
	version := collectionVersion(t, namespace)
	waited := make(chan error, 1)
	go func() { waited <- s.Confirm(t.Context(), version) }()
	p.refuses(false)
	if err := <-waited; err != nil || !s.tells("meanwhile") {
		t.Errorf("once the API server was back: %v, told %v", err, s.told())
	}
	s.stop()
	if err := s.Confirm(t.Context(), 1); err == nil {
		t.Error("a store that has ended has confirmed")
	}
}
