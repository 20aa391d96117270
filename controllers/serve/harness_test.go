package serve

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
	"github.com/nagi-rtc/nagi/controllers/claims"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

const patience = 25 * time.Second

// plane and k8s are set once, before the tests run.
var (
	plane *controlplane.ControlPlane
	k8s   client.Client
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	// Each worker of a fuzzing run is a process that comes by here, and may be
	// killed: none of them must start a control plane, nor needs one.
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		return m.Run()
	}
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)

		return 1
	}
	var err error
	if plane, err = controlplane.Start(); err != nil {
		return fail(err)
	}
	types := runtime.NewScheme()
	_ = v1alpha1.AddToScheme(types)
	_ = scheme.AddToScheme(types)
	if k8s, err = client.New(plane.Config, client.Options{Scheme: types}); err != nil {
		return fail(err)
	}
	code := m.Run()
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

// serving is a replica that serves on a loopback address.
type serving struct {
	*Server
	knowledge  *knowledge.Knowledge
	connection *grpc.ClientConn
	view       forwardingv1.ViewClient
	control    forwardingv1.ControlClient
	placement  forwardingv1.PlacementClient
	claims     *claims.Claims // nil where Placement is not served
}

func serve(t testing.TB, namespaces ...string) *serving {
	t.Helper()
	s := serveWith(t, knowledge.Config{Namespaces: namespaces}, Config{})
	until(t, "the replica serves", func() bool { return s.Ready() == nil })

	return s
}

func serveWith(t testing.TB, known knowledge.Config, config Config) *serving {
	t.Helper()

	return serveClaims(t, known, config, nil)
}

// serveClaims serves Placement too, where it is told how channels are claimed.
func serveClaims(t testing.TB, known knowledge.Config, config Config, claiming *claims.Config) *serving {
	t.Helper()
	if known.REST == nil {
		known.REST = plane.Config
	}
	if known.Log == nil {
		known.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	known.Registerer = prometheus.NewRegistry()
	k, err := knowledge.New(known)
	if err != nil {
		t.Fatal(err)
	}
	config.Knowledge, config.Log, config.Registerer = k, known.Log, known.Registerer
	running := []func(context.Context) error{k.Run}
	if claiming != nil {
		claiming.Namespaces, claiming.Log, claiming.Registerer = known.Namespaces, known.Log, known.Registerer
		claiming.Changed, claiming.Known = k.Claimed, k.ClaimsKnown
		if claiming.REST == nil {
			claiming.REST = plane.Config
		}
		if config.Claims, err = claims.New(*claiming); err != nil {
			t.Fatal(err)
		}
		running = append(running, config.Claims.Run)
	} else {
		for _, namespace := range known.Namespaces { // They were listed once, and are not followed any more.
			k.ClaimsKnown(namespace, true)
			k.ClaimsKnown(namespace, false)
		}
	}
	server, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	running = append(running, func(ctx context.Context) error { return server.Run(ctx, listener) })
	done := make(chan error, len(running))
	for _, run := range running {
		go func() { done <- run(ctx) }()
	}
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = connection.Close()
		cancel()
		for range running {
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	})

	return &serving{
		Server: server, knowledge: k, connection: connection,
		view: forwardingv1.NewViewClient(connection), control: forwardingv1.NewControlClient(connection),
		placement: forwardingv1.NewPlacementClient(connection), claims: config.Claims,
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)

	return ctx
}

// pauseOf is on the edge from connection S to connection R.
func pauseOf(namespace, name, channelID string) *v1alpha1.RtpStreamPause {
	return &v1alpha1.RtpStreamPause{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.RtpStreamPauseSpec{
			ChannelID: channelID,
			Receivers: v1alpha1.Side{ConnectionIDs: []string{"R"}},
			Senders:   v1alpha1.Side{ConnectionIDs: []string{"S"}},
		},
	}
}

func create(t testing.TB, namespace, name, channelID string) *v1alpha1.RtpStreamPause {
	t.Helper()
	o := pauseOf(namespace, name, channelID)
	if err := k8s.Create(context.Background(), o); err != nil {
		t.Fatal(err)
	}

	return o
}

func remove(t testing.TB, o *v1alpha1.RtpStreamPause) {
	t.Helper()
	if err := k8s.Delete(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

// collection is the version of the collection of pauses.
func collection(t testing.TB, namespace string) uint64 {
	t.Helper()
	var list v1alpha1.RtpStreamPauseList
	if err := k8s.List(context.Background(), &list, client.InNamespace(namespace), client.Limit(1)); err != nil {
		t.Fatal(err)
	}
	var version uint64
	if _, err := fmt.Sscan(list.ResourceVersion, &version); err != nil {
		t.Fatal(err)
	}

	return version
}

// lines is a log that can be searched while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.Write(line)
}

func (l *lines) contain(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()

	return strings.Contains(l.text.String(), s)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()

	return strings.Count(l.text.String(), s)
}
