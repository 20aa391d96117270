package lifecycle_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/lifecycle"
	"github.com/nagi-rtc/nagi/controllers/serve"
	"github.com/nagi-rtc/nagi/hack/controlplane"
)

const deadline = 25 * time.Second

// plane and k8s are set once, before the tests run.
var (
	plane *controlplane.ControlPlane
	k8s   client.Client
)

func TestMain(m *testing.M) {
	var err error
	if plane, err = controlplane.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	types := runtime.NewScheme()
	_ = v1alpha1.AddToScheme(types)
	_ = scheme.AddToScheme(types)
	if k8s, err = client.New(plane.Config, client.Options{Scheme: types}); err != nil {
		panic(err)
	}
	code := m.Run()
	closeIdle()
	if err := plane.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		// klog's daemon belongs to the process.
		if err := goleak.Find(goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// closeIdle closes the connections to the API server, which clients of equal
// credentials share and keep.
func closeIdle() {
	if transport, err := rest.TransportFor(plane.Config); err == nil {
		utilnet.CloseIdleConnectionsFor(transport)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

type replica struct {
	address  string
	stop     func()
	registry *prometheus.Registry
}

// counted returns the value of a counter or gauge of the replica.
func (r *replica) counted(t *testing.T, name string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			m := family.GetMetric()[0]

			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)

	return 0
}

// startReplica runs what cmd/manager runs, with a short lease.
func startReplica(t *testing.T, namespaces ...string) *replica {
	t.Helper()

	return startReplicaAs(t, plane.Config, namespaces...)
}

func startReplicaAs(t *testing.T, api *rest.Config, namespaces ...string) *replica {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	registry := prometheus.NewRegistry()
	server, err := serve.New(t.Context(), serve.Config{REST: api, Namespaces: namespaces, Log: log, Registerer: registry, MediaServerLost: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	elected, err := lifecycle.New(lifecycle.Config{
		REST: api, Knowledge: server, LeaseNamespace: namespaces[0], Log: log, Registerer: registry, MediaServerLost: 3 * time.Second,
		LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- server.Run(ctx, listener) }()
	go func() { done <- elected.Run(ctx) }()
	stopped := false
	r := &replica{address: listener.Addr().String(), registry: registry, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("replica: %v", err)
			}
		}
	}}
	t.Cleanup(r.stop)
	eventually(t, "replica serves", func() bool { return server.Ready() == nil })

	return r
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

func pauseIn(t *testing.T, ns, name string, change func(*v1alpha1.RtpStreamPauseSpec)) *v1alpha1.RtpStreamPause {
	t.Helper()
	r, s := "R", "S"
	o := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.RtpStreamPauseSpec{ChannelID: "lobby", RecvConnectionID: &r, SendConnectionID: &s}}
	if change != nil {
		change(&o.Spec)
	}
	if err := k8s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}

	return o
}

// waitReason also holds kstatus to its word at every look.
func waitReason(t *testing.T, o *v1alpha1.RtpStreamPause, reason string) *v1alpha1.RtpStreamPause {
	t.Helper()
	var got v1alpha1.RtpStreamPause
	eventually(t, o.Name+" becomes "+reason, func() bool {
		if err := k8s.Get(t.Context(), client.ObjectKeyFromObject(o), &got); err != nil {
			return false
		}
		ready := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady)
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&got)
		if err != nil {
			t.Fatal(err)
		}
		result, err := kstatus.Compute(&unstructured.Unstructured{Object: content})
		if err != nil {
			t.Fatal(err)
		}
		isReady := ready != nil && ready.Status == metav1.ConditionTrue && got.Status.ObservedGeneration == got.Generation
		if current := result.Status == kstatus.CurrentStatus; current != isReady {
			t.Fatalf("kstatus says %s (%s) while ready is %v", result.Status, result.Message, ready)
		}

		return ready != nil && ready.Reason == reason && got.Status.ObservedGeneration == got.Generation
	})

	return &got
}

// mediaServer is a real gRPC client that acknowledges as told.
type mediaServer struct {
	t      *testing.T
	stream forwardingv1.Forwarding_SubscribeClient
	tables chan *forwardingv1.Table
	end    chan error
	view   forwardingv1.ViewClient
	close  func()
}

func dial(t *testing.T, address, ns, name string) *mediaServer {
	t.Helper()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := forwardingv1.NewForwardingClient(connection).Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m := &mediaServer{t: t, stream: stream, tables: make(chan *forwardingv1.Table, 100), end: make(chan error, 1), view: forwardingv1.NewViewClient(connection)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			message, err := stream.Recv()
			if err != nil {
				m.end <- err

				return
			}
			if table := message.GetTable(); table != nil {
				m.tables <- table
			}
		}
	}()
	closed := false
	m.close = func() {
		if !closed {
			closed = true
			cancel()
			<-done
			_ = connection.Close()
		}
	}
	t.Cleanup(m.close)
	m.send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Hello{Hello: &forwardingv1.Hello{Namespace: ns, MediaServer: name}}})

	return m
}

func (m *mediaServer) send(message *forwardingv1.SubscribeRequest) {
	m.t.Helper()
	if err := m.stream.Send(message); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mediaServer) report(ids ...string) {
	m.t.Helper()
	report := &forwardingv1.ChannelReport{ChannelId: "lobby"}
	for _, id := range ids {
		report.Connections = append(report.Connections, &forwardingv1.Connection{ConnectionId: id, Role: forwardingv1.Role_ROLE_SENDRECV})
	}
	m.send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Report{Report: report}})
}

func (m *mediaServer) complete() {
	m.t.Helper()
	m.send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Complete{Complete: &forwardingv1.ReportComplete{}}})
}

func (m *mediaServer) table(what string, ok func(*forwardingv1.Table) bool) *forwardingv1.Table {
	m.t.Helper()
	end := time.After(deadline)
	for {
		select {
		case table := <-m.tables:
			if ok(table) {
				return table
			}
		case err := <-m.end:
			m.t.Fatalf("stream ended while waiting for %s: %v", what, err)
		case <-end:
			m.t.Fatalf("no table: %s", what)
		}
	}
}

func (m *mediaServer) acknowledge(table *forwardingv1.Table) {
	m.t.Helper()
	a := &forwardingv1.Acknowledgement{ChannelId: table.GetChannelId(), Version: table.GetVersion()}
	for _, p := range table.GetPauses() {
		a.Pauses = append(a.Pauses, &forwardingv1.PauseAcknowledgement{Uid: p.GetUid(), Generation: p.GetGeneration(), Edges: []*forwardingv1.EdgeAcknowledgement{{RecvConnectionId: "R", SendConnectionId: "S"}}})
	}
	m.send(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Acknowledgement{Acknowledgement: a}})
}

func holds(uid string) func(*forwardingv1.Table) bool {
	return func(table *forwardingv1.Table) bool {
		for _, p := range table.GetPauses() {
			if p.GetUid() == uid {
				return true
			}
		}

		return false
	}
}

func TestPauseFromCreationToDeletion(t *testing.T) {
	ns, other := namespace(t), namespace(t)
	first, second := startReplica(t, ns, other), startReplica(t, ns, other)
	m, m2 := dial(t, first.address, ns, "ms"), dial(t, second.address, ns, "ms")
	stranger := dial(t, first.address, other, "ms")
	for _, each := range []*mediaServer{m, m2, stranger} {
		each.report("R", "S")
		each.complete()
	}
	o := pauseIn(t, ns, "edge", nil)
	waitReason(t, o, v1alpha1.ReasonNotAcknowledged)
	for _, each := range []*mediaServer{m, m2} {
		each.acknowledge(each.table("the pause", holds(string(o.UID))))
	}
	got := waitReason(t, o, v1alpha1.ReasonEnforced)
	if got.Status.MediaServer != "ms" || got.Status.Role != v1alpha1.RoleSendRecv || !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionEnforced) {
		t.Errorf("status %+v", got.Status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	enforced, err := m2.view.WaitEnforced(ctx, &forwardingv1.WaitEnforcedRequest{Namespace: ns, Uid: string(o.UID)})
	if err != nil || enforced.GetMediaServers()[0].GetLatency().AsDuration() <= 0 {
		t.Errorf("WaitEnforced: %v, %v", enforced, err)
	}
	// The status was written twice at least; only the deletion is pushed.
	if err := k8s.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if table := m.table("after the deletion", func(*forwardingv1.Table) bool { return true }); len(table.GetPauses()) != 0 {
		t.Errorf("a status write was pushed: %v", table)
	}
	if table := stranger.table("the first answer", func(*forwardingv1.Table) bool { return true }); len(table.GetPauses()) != 0 || len(stranger.tables) != 0 {
		t.Error("a pause of another namespace was pushed")
	}
	// Under the same name: nothing is inherited.
	again := pauseIn(t, ns, "edge", nil)
	if got := waitReason(t, again, v1alpha1.ReasonNotAcknowledged); got.Status.DisconnectedAt != nil {
		t.Errorf("inherited: %+v", got.Status)
	}
	// The writer ends: the other one serves on and, in its turn, writes.
	first.stop()
	m2.acknowledge(m2.table("the new pause", holds(string(again.UID))))
	waitReason(t, again, v1alpha1.ReasonEnforced)
}

func TestExpiryAndArmed(t *testing.T) {
	ns := namespace(t)
	startReplica(t, ns)
	armed := pauseIn(t, ns, "armed", nil)
	expiring := pauseIn(t, ns, "expiring", func(s *v1alpha1.RtpStreamPauseSpec) {
		s.ExpiresAt = &metav1.Time{Time: time.Now().Add(8 * time.Second)}
	})
	waitReason(t, armed, v1alpha1.ReasonStarting)
	waitReason(t, armed, v1alpha1.ReasonArmed)
	waitReason(t, expiring, v1alpha1.ReasonArmed)
	waitReason(t, expiring, v1alpha1.ReasonExpired)
}

func TestDeletionAfterDisconnectSurvivesARestart(t *testing.T) {
	ns := namespace(t)
	first := startReplica(t, ns)
	m := dial(t, first.address, ns, "ms")
	m.report("R", "S")
	m.complete()
	brief := func(s *v1alpha1.RtpStreamPauseSpec) {
		s.DeleteAfterDisconnect = &metav1.Duration{Duration: time.Second}
	}
	seen := pauseIn(t, ns, "seen", brief)
	unseen := pauseIn(t, ns, "unseen", func(s *v1alpha1.RtpStreamPauseSpec) { brief(s); x := "X"; s.SendConnectionID = &x })
	m.acknowledge(m.table("the pause", holds(string(seen.UID))))
	waitReason(t, seen, v1alpha1.ReasonEnforced)
	waitReason(t, unseen, v1alpha1.ReasonArmed)
	m.close()
	waitReason(t, seen, v1alpha1.ReasonMediaServerLost)
	first.stop()

	// The sender leaves while no manager listens; the next one finds out.
	second := startReplica(t, ns)
	m = dial(t, second.address, ns, "ms")
	m.report("R")
	m.complete()
	eventually(t, "the pause is deleted", func() bool {
		return client.IgnoreNotFound(k8s.Get(t.Context(), client.ObjectKeyFromObject(seen), seen)) == nil && k8s.Get(t.Context(), client.ObjectKeyFromObject(seen), seen) != nil
	})
	if err := k8s.Get(t.Context(), client.ObjectKeyFromObject(unseen), unseen); err != nil {
		t.Errorf("a pause whose sender was never seen: %v", err)
	}
}

func TestNewerStreamAndBadMessages(t *testing.T) {
	ns := namespace(t)
	r := startReplica(t, ns)
	older := dial(t, r.address, ns, "ms")
	older.report("R")
	older.table("the answer", func(*forwardingv1.Table) bool { return true })
	newer := dial(t, r.address, ns, "ms")
	newer.report("R")
	if err := <-older.end; status.Code(err) != codes.Aborted {
		t.Errorf("the older stream ended with %v", err)
	}
	newer.report("R", "R")
	if err := <-newer.end; status.Code(err) != codes.InvalidArgument {
		t.Errorf("a connection reported twice: %v", err)
	}
	unwatched := dial(t, r.address, "elsewhere", "ms")
	if err := <-unwatched.end; status.Code(err) != codes.InvalidArgument {
		t.Errorf("an unwatched namespace: %v", err)
	}
}
