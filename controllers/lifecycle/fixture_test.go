package lifecycle_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
	"github.com/nagi-rtc/nagi/controllers/lifecycle"
	"github.com/nagi-rtc/nagi/controllers/objects"
)

const (
	deadline    = 40 * time.Second
	giveUpAfter = 2 * time.Second
)

// acting is knowledge whose objects are those of the API server and whose verdicts
// are the test's: for what no media server can be made to say in time.
type acting struct {
	*objects.Store
	namespace string

	mu       sync.Mutex
	verdicts map[string]knowledge.Verdict
	verdict  knowledge.Verdict // of all others
	left     map[string]time.Time
	unready  error
	panics   bool
	watchers map[*func(types.NamespacedName, bool)]struct{}
}

func newActing(t *testing.T, ns string) *acting {
	t.Helper()
	h := &acting{
		namespace: ns, verdicts: map[string]knowledge.Verdict{}, left: map[string]time.Time{},
		verdict:  knowledge.Verdict{Reason: v1alpha1.ReasonArmed},
		watchers: map[*func(types.NamespacedName, bool)]struct{}{},
	}
	store, err := objects.New(objects.Config{
		REST: plane.Config, Namespace: ns, Log: slog.New(slog.DiscardHandler),
		Changed: func(changes []objects.Change, _ uint64) {
			for _, change := range changes {
				if change.After != nil {
					h.tell(change.After.Name, false)
				} else {
					h.tell(change.Before.Name, false)
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Store = store
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})

	return h
}

func (h *acting) tell(name string, low bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		(*w)(types.NamespacedName{Namespace: h.namespace, Name: name}, low)
	}
}

// judge makes the verdict on a pause; an empty name: on all that have none.
func (h *acting) judge(name string, verdict knowledge.Verdict) {
	h.mu.Lock()
	if name == "" {
		h.verdict = verdict
	} else {
		h.verdicts[name] = verdict
	}
	h.mu.Unlock()
	if name != "" {
		h.tell(name, false)
	}
}

func (h *acting) Known() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unready != nil {
		return h.unready
	}

	return h.Ready()
}

func (h *acting) Watch(enqueue func(types.NamespacedName, bool)) func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[&enqueue] = struct{}{}
	for _, name := range h.Names() {
		enqueue(types.NamespacedName{Namespace: h.namespace, Name: name}, true)
	}

	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, &enqueue)
	}
}

// Names are those of all objects there are.
func (h *acting) Names() []string {
	var list v1alpha1.RtpStreamPauseList
	_ = k8s.List(context.Background(), &list, client.InNamespace(h.namespace))
	var names []string
	for _, o := range list.Items {
		names = append(names, o.Name)
	}

	return names
}

func (h *acting) Pause(name types.NamespacedName) *held.Pause { return h.Get(name.Name) }

func (h *acting) Judge(pause *held.Pause, _, _ time.Time) knowledge.Verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.panics {
		panic("the test's")
	}
	if pause.Deletion != nil {
		return knowledge.Verdict{Reason: v1alpha1.ReasonDeleting}
	}
	if verdict, ok := h.verdicts[pause.Name]; ok {
		return verdict
	}

	return h.verdict
}

func (h *acting) Departure(pause *held.Pause, _, _ time.Time) (left, again time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()

	return h.left[pause.Name], time.Time{}
}

func (h *acting) Streaming(string) int { return 1 }

// elected is a lifecycle that runs.
type elected struct {
	*lifecycle.Lifecycle
	registry *prometheus.Registry
	stop     func()
}

func elect(
	t *testing.T, api *rest.Config, known lifecycle.Knowledge, leaseNamespace string, change ...func(*lifecycle.Config),
) *elected {
	t.Helper()
	registry := prometheus.NewRegistry()
	out := io.Discard
	if testing.Verbose() {
		out = t.Output()
	}
	config := lifecycle.Config{
		REST: api, Knowledge: known, LeaseNamespace: leaseNamespace, Log: slog.New(slog.NewTextHandler(out, nil)),
		Registerer:    registry,
		LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 200 * time.Millisecond,
		GiveUpAfter: giveUpAfter,
	}
	for _, c := range change {
		c(&config)
	}
	l, err := lifecycle.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	e := &elected{Lifecycle: l, registry: registry, stop: sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the elected part ended with %v", err)
		}
	})}
	t.Cleanup(e.stop)

	return e
}

func (e *elected) inOffice(t *testing.T) bool { return e.counted(t, "nagi_manager_in_office") == 1 }

// counted returns the sum of a metric.
func (e *elected) counted(t *testing.T, name string) float64 {
	t.Helper()
	families, err := e.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		var sum float64
		for _, m := range family.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}

		return sum
	}
	t.Fatalf("no metric %s", name)

	return 0
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(deadline)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			t.Fatalf("not within %s: %s", deadline, what)
		case <-tick.C:
		}
	}
}

func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "tenant-"}}
	if err := k8s.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}

	return ns.Name
}

func pauseIn(t *testing.T, ns, name string, change func(*v1alpha1.RtpStreamPause)) *v1alpha1.RtpStreamPause {
	t.Helper()
	o := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: v1alpha1.RtpStreamPauseSpec{
			ChannelID: "lobby",
			Receivers: v1alpha1.Side{ConnectionIDs: []string{"R"}},
			Senders:   v1alpha1.Side{ConnectionIDs: []string{"S"}},
		}}
	if change != nil {
		change(o)
	}
	if err := k8s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}

	return o
}

func get(t *testing.T, o *v1alpha1.RtpStreamPause) *v1alpha1.RtpStreamPause {
	t.Helper()
	var got v1alpha1.RtpStreamPause
	if err := k8s.Get(t.Context(), client.ObjectKeyFromObject(o), &got); err != nil {
		t.Fatal(err)
	}

	return &got
}

func gone(t *testing.T, o *v1alpha1.RtpStreamPause) func() bool {
	return func() bool {
		return apierrors.IsNotFound(k8s.Get(t.Context(), client.ObjectKeyFromObject(o), &v1alpha1.RtpStreamPause{}))
	}
}

// waitReason also holds kstatus to its word at every look.
func waitReason(t *testing.T, o *v1alpha1.RtpStreamPause, reason string) *v1alpha1.RtpStreamPause {
	t.Helper()
	var got *v1alpha1.RtpStreamPause
	eventually(t, o.Name+" becomes "+reason, func() bool {
		got = get(t, o)
		ready := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady)
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(got)
		if err != nil {
			t.Fatal(err)
		}
		result, err := kstatus.Compute(&unstructured.Unstructured{Object: content})
		if err != nil {
			t.Fatal(err)
		}
		isReady := got.DeletionTimestamp == nil && ready != nil && ready.Status == metav1.ConditionTrue &&
			got.Status.ObservedGeneration == got.Generation
		if current := result.Status == kstatus.CurrentStatus; current != isReady {
			t.Fatalf("kstatus says %s (%s) while ready is %v", result.Status, result.Message, ready)
		}

		return ready != nil && ready.Reason == reason && got.Status.ObservedGeneration == got.Generation
	})

	return got
}
