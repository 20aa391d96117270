package serve

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/hack/controlplane"
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
	ctrl.SetLogger(logr.Discard())
	var err error
	if plane, err = controlplane.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)

		return 1
	}
	types := runtime.NewScheme()
	_ = v1alpha1.AddToScheme(types)
	_ = scheme.AddToScheme(types)
	if k8s, err = client.New(plane.Config, client.Options{Scheme: types}); err != nil {
		panic(err)
	}
	for _, name := range []string{"tenant", "neighbour", "other"} {
		if err := k8s.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if err := plane.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}

	return code
}

type serving struct {
	*Server
	connection *grpc.ClientConn
}

func serveTenants(t *testing.T, namespaces ...string) *serving {
	t.Helper()
	s := serveFrom(t, plane.Config, Config{Namespaces: namespaces})
	until(t, "the replica serves", func() bool { return s.Ready() == nil })

	return s
}

func serveFrom(t *testing.T, api *rest.Config, config Config) *serving {
	t.Helper()
	config.REST, config.Registerer = api, prometheus.NewRegistry()
	if config.Log == nil {
		config.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	server, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, listener) }()
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = connection.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})

	return &serving{Server: server, connection: connection}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

type call struct {
	forwardingv1.Forwarding_SubscribeClient
}

func (s *serving) open(t *testing.T, messages ...*forwardingv1.SubscribeRequest) *call {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	stream, err := forwardingv1.NewForwardingClient(s.connection).Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := &call{stream}
	c.send(t, messages...)

	return c
}

// send: a stream that the server has ended meanwhile tells why when read.
func (c *call) send(t *testing.T, messages ...*forwardingv1.SubscribeRequest) {
	t.Helper()
	for _, m := range messages {
		if err := c.Send(m); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
}

func (c *call) end(t *testing.T) error {
	t.Helper()
	for {
		if _, err := c.Recv(); err != nil {
			return err
		}
	}
}

func (c *call) await(t *testing.T, ok func(*forwardingv1.SubscribeResponse) bool) *forwardingv1.SubscribeResponse {
	t.Helper()
	for {
		m, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if ok(m) {
			return m
		}
	}
}

func createPause(t *testing.T, namespace, name, channelID string) *v1alpha1.RtpStreamPause {
	t.Helper()
	r := "R"
	o := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.RtpStreamPauseSpec{ChannelID: channelID, RecvConnectionID: &r}}
	if err := k8s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}

	return o
}

func holding(o *v1alpha1.RtpStreamPause) func(*forwardingv1.SubscribeResponse) bool {
	return func(m *forwardingv1.SubscribeResponse) bool {
		for _, p := range m.GetTable().GetPauses() {
			if p.GetUid() == string(o.UID) {
				return true
			}
		}

		return false
	}
}

// lines is a log that can be searched while it is written.
type lines struct{ written chan string }

func (l lines) Write(line []byte) (int, error) {
	select {
	case l.written <- string(line):
	default:
	}

	return len(line), nil
}

func TestWithoutAPIServerItWaitsAndSaysSo(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	log := lines{make(chan string, 100)}
	s := serveFrom(t, &rest.Config{Host: "http://" + nowhere}, Config{Namespaces: []string{"tenant"}, Log: slog.New(slog.NewTextHandler(log, nil))})
	if s.Ready() == nil {
		t.Error("ready without an API server")
	}
	if err := s.open(t, helloOf("tenant", "ms")).end(t); status.Code(err) != codes.Unavailable {
		t.Errorf("Subscribe: %v", err)
	}
	_, err = forwardingv1.NewViewClient(s.connection).Connections(t.Context(), &forwardingv1.ConnectionsRequest{Namespace: "tenant", ChannelId: "lobby"})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("Connections: %v", err)
	}
	said := time.After(patience)
	for {
		select {
		case line := <-log.written:
			if strings.Contains(line, "is the API server reachable?") {
				return
			}
		case <-said:
			t.Fatal("nothing is said of the API server's absence")
		}
	}
}

func TestDeafMediaServerHoldsUpNobody(t *testing.T) {
	s := serveTenants(t, "tenant", "neighbour")
	hosts := &forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Report{Report: &forwardingv1.ChannelReport{ChannelId: "deaf", Connections: lobby("R", "S").GetConnections()}}}
	deaf := s.open(t, helloOf("tenant", "deaf"), hosts)
	// Each report is answered; these answers fill what flow control allows.
	for range 5000 {
		deaf.send(t, hosts)
	}
	listening := s.open(t, helloOf("tenant", "listening"), hosts)
	stranger := s.open(t, helloOf("neighbour", "stranger"), hosts, completion)
	o := createPause(t, "tenant", "deaf", "deaf")
	listening.await(t, holding(o))
	// Of the neighbour's tenant nothing came, neither with the answer nor after.
	foreign := createPause(t, "neighbour", "deaf", "deaf")
	stranger.await(t, func(m *forwardingv1.SubscribeResponse) bool {
		if holding(o)(m) {
			t.Error("a pause of another namespace arrived")
		}

		return holding(foreign)(m)
	})
}

func TestVersionIsStatedRegularlyAndTurnsStale(t *testing.T) {
	s := serveFrom(t, plane.Config, Config{Namespaces: []string{"other"}, VersionInterval: 50 * time.Millisecond, StaleAfter: time.Second})
	until(t, "the replica serves", func() bool { return s.Ready() == nil })
	c := s.open(t, helloOf("other", "ms"), reportOf(lobby("R", "S").GetConnections()...), completion)
	if m, err := c.Recv(); err != nil || m.GetTable() == nil {
		t.Fatalf("the version came before the answer to the report: %v, %v", m, err)
	}
	stale := func(want bool) func(*forwardingv1.SubscribeResponse) bool {
		return func(m *forwardingv1.SubscribeResponse) bool {
			return m.GetReplicaVersion().GetVersion() > 0 && m.GetReplicaVersion().GetStale() == want
		}
	}
	c.await(t, stale(true))
	o := createPause(t, "other", "fresh", "lobby")
	if c.await(t, holding(o)).GetTable().GetStale() {
		t.Error("an event has come, and the table is stale")
	}
	c.await(t, stale(false))
	c.await(t, stale(true))
}

func TestVersionDoesNotGoBackwardsAfterADeletionAndARestart(t *testing.T) {
	s := serveTenants(t, "tenant")
	c := s.open(t, helloOf("tenant", "ms"), reportOf(lobby("R", "S").GetConnections()...))
	o := createPause(t, "tenant", "brief", "lobby")
	with := c.await(t, holding(o)).GetTable().GetVersion()
	if err := k8s.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	without := c.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetTable() != nil && !holding(o)(m) }).GetTable().GetVersion()
	again := serveTenants(t, "tenant").open(t, helloOf("tenant", "ms"), reportOf(lobby("R", "S").GetConnections()...))
	restarted := again.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetTable() != nil }).GetTable().GetVersion()
	if with >= without || restarted < without {
		t.Errorf("versions %d with the pause, %d without, %d after a restart", with, without, restarted)
	}
}
