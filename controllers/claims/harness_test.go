package claims

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

const patience = 40 * time.Second

// plane and k8s are set once, before the tests run.
var (
	plane *controlplane.ControlPlane
	k8s   *kubernetes.Clientset
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)

		return 1
	}
	data, err := os.MkdirTemp("", "nagi-claims-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(data) }()
	if plane, err = startOn(data); err != nil {
		return fail(err)
	}
	plane.Config.QPS = -1
	k8s = kubernetes.NewForConfigOrDie(plane.Config)
	code := m.Run()
	if transport, err := rest.TransportFor(plane.Config); err == nil {
		utilnet.CloseIdleConnectionsFor(transport)
	}
	if err := plane.Stop(); err != nil {
		return fail(err)
	}
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil {
			return fail(err)
		}
	}

	return code
}

// startOn starts a control plane on the data of an etcd.
func startOn(data string) (*controlplane.ControlPlane, error) {
	return controlplane.Start(func(e *envtest.Environment) { e.ControlPlane.Etcd.DataDir = data })
}

// newNamespace makes a namespace of the test's own.
func newNamespace(t testing.TB) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	namespace, err := k8s.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: name[:min(len(name), 40)] + "-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	return namespace.Name
}

// way is a replica's way to the API server, which a test cuts, or goes first on.
type way struct {
	next http.RoundTripper
	away atomic.Bool
	// before, where it is set, is called once before the next request with the method.
	mu     sync.Mutex
	method string
	before func()
}

func (w *way) RoundTrip(request *http.Request) (*http.Response, error) {
	if w.away.Load() {
		return nil, errors.New("the API server is away")
	}
	w.mu.Lock()
	before, next := w.before, w.next
	if request.Method == w.method {
		w.before, w.method = nil, ""
	} else {
		before = nil
	}
	w.mu.Unlock()
	if before != nil {
		before()
	}
	response, err := next.RoundTrip(request)
	if err == nil {
		response.Body = &body{response.Body, w}
	}

	return response, err
}

// body ends as its way is cut.
type body struct {
	io.ReadCloser
	way *way
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.way.away.Load() {
		return 0, errors.New("the API server is away")
	}

	return n, err
}

// send has requests go another way from now on.
func (w *way) send(next http.RoundTripper) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = next
}

func (w *way) goFirst(method string, before func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.method, w.before = method, before
}

// replica is one that follows claims.
type replica struct {
	*Claims
	way      *way
	registry *prometheus.Registry

	mu     sync.Mutex
	owners map[string]Holder // as it was told, by channel
}

func (r *replica) owner(channelID string) Holder {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.owners[channelID]
}

// follow starts a replica, and waits until it knows all claims.
func follow(t testing.TB, namespace string, change ...func(*Config)) *replica {
	t.Helper()
	r := begin(t, namespace, change...)
	until(t, "claims are followed", func() bool { return r.Followed() == nil })

	return r
}

func begin(t testing.TB, namespace string, change ...func(*Config)) *replica {
	t.Helper()
	r := &replica{way: &way{}, registry: prometheus.NewRegistry(), owners: map[string]Holder{}}
	config := Config{
		TakeoverAfter: time.Nanosecond, // A test has no time to wait, unless it is about that.
		REST:          rest.CopyConfig(plane.Config),
		Namespace:     namespace,
		Namespaces:    []string{namespace},
		Log:           slog.New(slog.DiscardHandler),
		Registerer:    r.registry,
		Changed: func(c Change) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if delete(r.owners, c.ChannelID); c.Owner != (Holder{}) {
				r.owners[c.ChannelID] = c.Owner
			}
		},
	}
	for _, c := range change {
		c(&config)
	}
	config.REST.Wrap(func(next http.RoundTripper) http.RoundTripper {
		r.way.next = next

		return r.way
	})
	var err error
	if r.Claims, err = New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})

	return r
}

func (r *replica) counted(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if len(labels) == 0 || metric.GetLabel()[0].GetValue() == labels[0] {
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}

	return sum
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

// heard is what a replica has heard of all media servers alike.
type heard struct {
	silence time.Duration
	ended   time.Time
	reached bool
	address string // Of each media server.
	askedAt string // is the address that Reached was given last.
	nobody  bool   // answers whether it is reached
	unused  bool
	asked   atomic.Int32
	out     []Holder // of touch
	gone    []Holder
}

func (h *heard) OutOfTouch() []Holder  { return h.out }
func (h *heard) PodGone(holder Holder) { h.gone = append(h.gone, holder) }

func (h *heard) Silence(Holder) time.Duration { return h.silence }
func (h *heard) Ended(Holder) time.Time       { return h.ended }
func (h *heard) Unused(Holder, string) bool   { return h.unused }

func (h *heard) PeerAddress(Holder) string { return h.address }

func (h *heard) Reached(_ context.Context, _ Holder, address string) (bool, error) {
	h.asked.Add(1)
	h.askedAt = address
	if h.nobody {
		return false, errors.New("nobody answers")
	}

	return h.reached, nil
}

func anybody() error { return nil }

// opened are openings of one number.
func opened(number uint64, channelIDs ...string) (openings []Opening) {
	for _, id := range channelIDs {
		openings = append(openings, Opening{id, number})
	}

	return openings
}

// claim claims and expects an answer.
func (r *replica) claim(t testing.TB, namespace, channelID string, by Holder, w Witness) Holder {
	t.Helper()
	owner, _, err := r.Claim(t.Context(), namespace, Opening{channelID, 1}, by, w, anybody)
	if err != nil {
		t.Fatal(err)
	}

	return owner
}

func leaseOf(t testing.TB, namespace, channelID string) *coordinationv1.Lease {
	t.Helper()
	lease, err := k8s.CoordinationV1().Leases(namespace).Get(context.Background(), NameOf(namespace, channelID),
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}

	return lease
}

// podWith makes a pod as a kubelet would say it is.
func podWith(t testing.TB, namespace, name string, phase corev1.PodPhase, ready corev1.ConditionStatus) Holder {
	t.Helper()
	pods := k8s.CoreV1().Pods(namespace)
	pod, err := pods.Create(context.Background(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "mediaserver", Image: "mediaserver"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = phase
	if ready != "" {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	}
	if _, err := pods.UpdateStatus(context.Background(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}

	return Holder{name, string(pod.UID)}
}

// refusing is a client of somebody who may nothing.
func refusing(t testing.TB) *kubernetes.Clientset {
	t.Helper()
	user, err := plane.Environment.AddUser(envtest.User{Name: "nobody"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(user.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if transport, err := rest.TransportFor(user.Config()); err == nil {
			utilnet.CloseIdleConnectionsFor(transport)
		}
	})

	return client
}

// age has the replica have known a claim as it is for so much longer.
func (r *replica) age(namespace, channelID string, d time.Duration) {
	r.Claims.mu.Lock()
	defer r.Claims.mu.Unlock()
	older := *r.held[NameOf(namespace, channelID)]
	older.learned = older.learned.Add(-d)
	r.held[older.name] = &older
}
