package objects

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

const patience = 40 * time.Second

// plane and k8s are set once, before the tests run.
var (
	plane *cluster
	k8s   client.Client
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	flag.Parse()
	if flag.Lookup("test.run").Value.String() == "^$" {
		return m.Run() // Benchmarks need no API server.
	}
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)

		return 1
	}
	var err error
	if plane, err = newCluster(); err != nil {
		return fail(err)
	}
	k8s = newClient(plane.config)
	code := m.Run()
	if err := plane.remove(); err != nil {
		return fail(err)
	}
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil {
			return fail(err)
		}
	}

	return code
}

func newClient(config *rest.Config) client.Client {
	known := runtime.NewScheme()
	_ = v1alpha1.AddToScheme(known)
	_ = scheme.AddToScheme(known)
	_ = apiextensionsv1.AddToScheme(known)
	c, err := client.New(config, client.Options{Scheme: known})
	if err != nil {
		panic(err)
	}

	return c
}

// newNamespace makes a namespace of the test's own.
func newNamespace(t testing.TB) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: name[:min(len(name), 40)] + "-"}}
	if err := k8s.Create(context.Background(), namespace); err != nil {
		t.Fatal(err)
	}

	return namespace.Name
}

func pauseOf(namespace, name, channelID string) *v1alpha1.RtpStreamPause {
	return &v1alpha1.RtpStreamPause{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.RtpStreamPauseSpec{
			ChannelID: channelID,
			Receivers: v1alpha1.Side{ClientIDs: []string{"bob"}},
			Senders:   v1alpha1.Side{ClientIDs: []string{"camera-3"}},
		},
	}
}

func create(t testing.TB, namespace, name string) *v1alpha1.RtpStreamPause {
	t.Helper()
	o := pauseOf(namespace, name, "lobby")
	if err := k8s.Create(context.Background(), o); err != nil {
		t.Fatal(err)
	}

	return o
}

func update(t testing.TB, o *v1alpha1.RtpStreamPause, reason string) {
	t.Helper()
	o.Spec.Reason = reason
	if err := k8s.Update(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, o *v1alpha1.RtpStreamPause) {
	t.Helper()
	if err := k8s.Delete(context.Background(), o); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

// following is a running store and, in mirror, what its Changed was told.
type following struct {
	*Store
	t        testing.TB
	registry *prometheus.Registry
	log      *lines
	stop     func()

	mu       sync.Mutex
	mirror   map[types.UID]*held.Pause
	calls    []call
	mistakes []string
}

type call struct {
	changes []Change
	version uint64
	stale   bool
}

func follow(t testing.TB, config Config) *following {
	t.Helper()
	f := &following{t: t, registry: prometheus.NewRegistry(), log: &lines{}, mirror: map[types.UID]*held.Pause{}}
	config.Registerer, config.Changed = f.registry, f.changed
	if config.REST == nil {
		config.REST = plane.config
	}
	config.Log = slog.New(slog.NewTextHandler(f.log, nil))
	store, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	f.Store = store
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, mistake := range f.mistakes {
			t.Error(mistake)
		}
		if t.Failed() {
			t.Log(f.log.String())
		}
	})
	t.Cleanup(f.stop)

	return f
}

// changed follows what it is told and notes what is inconsistent.
func (f *following) changed(changes []Change, version uint64) {
	stale := f.Stale()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range changes {
		switch {
		case c.Before == nil && c.After == nil:
			f.mistakes = append(f.mistakes, "a change of nothing")
		case c.Before != nil && f.mirror[c.Before.UID] != c.Before:
			f.mistakes = append(f.mistakes, fmt.Sprintf("%s was not told as it was before", c.Before.Name))
		case c.Before != nil && c.After != nil && c.Before.UID != c.After.UID:
			f.mistakes = append(f.mistakes, "two objects in one change")
		case c.Before == nil && f.mirror[c.After.UID] != nil:
			f.mistakes = append(f.mistakes, fmt.Sprintf("%s was told as new twice", c.After.Name))
		}
		if c.Before != nil {
			delete(f.mirror, c.Before.UID)
		}
		if c.After != nil {
			f.mirror[c.After.UID] = c.After
		}
	}
	f.calls = append(f.calls, call{changes, version, stale})
}

// told is what the mirror holds by name.
func (f *following) told() map[string]*held.Pause {
	f.mu.Lock()
	defer f.mu.Unlock()
	result := map[string]*held.Pause{}
	for _, o := range f.mirror {
		result[o.Name] = o
	}

	return result
}

func (f *following) tells(name string) bool { return f.told()[name] != nil }

// equalsEtcd tells that the store holds what a list of the API server has.
func (f *following) equalsEtcd() bool {
	var list v1alpha1.RtpStreamPauseList
	if err := k8s.List(context.Background(), &list, client.InNamespace(f.config.Namespace)); err != nil {
		return false
	}
	told := f.told()
	if len(told) != len(list.Items) {
		return false
	}
	for _, o := range list.Items {
		pause := told[o.Name]
		if pause == nil || pause.UID != o.UID || pause.ResourceVersion != o.ResourceVersion ||
			pause.Spec.Reason != o.Spec.Reason || f.Get(o.Name) != pause {
			return false
		}
	}

	return true
}

// timesStale is how often Changed was told that the store had become stale.
func (f *following) timesStale() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	times, was := 0, true
	for _, c := range f.calls {
		if c.stale && !was {
			times++
		}
		was = c.stale
	}

	return times
}

func (f *following) callCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()

	return len(f.calls)
}

// callsWithChanges counts the calls of Changed with changes from the nth on.
func (f *following) callsWithChanges(from int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls[from:] {
		if len(c.changes) > 0 {
			n++
		}
	}

	return n
}

func (f *following) until(what string, ok func() bool) time.Duration {
	f.t.Helper()

	return until(f.t, what, ok)
}

func (f *following) ready() {
	f.t.Helper()
	f.until("the store is ready", func() bool { return f.Ready() == nil })
}

// value reads one metric; labels are "name=value".
func (f *following) value(name string, labels ...string) float64 {
	f.t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	metrics:
		for _, m := range family.GetMetric() {
			has := map[string]bool{}
			for _, l := range m.GetLabel() {
				has[l.GetName()+"="+l.GetValue()] = true
			}
			for _, l := range append(labels, "namespace="+f.config.Namespace) {
				if !has[l] {
					continue metrics
				}
			}
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}

	return sum
}

// until waits for a condition and returns how long that took.
func until(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > patience {
			t.Fatalf("not within %s: %s", patience, what)
		}
		<-tick.C
	}

	return time.Since(began)
}

// lines is a log that can be searched while it is written.
type lines struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.buffer.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.buffer.String()
}
