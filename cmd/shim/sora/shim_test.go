package sora

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
	"github.com/nagi-rtc/nagi/hack/controlplane"
)

const (
	alice = "VTGYC92AZX6M72K860BPREFTMC"
	bob   = "3X0W1C23KS1TQAAYMKA9TXJS4G"
	carol = "G8AN156DSD3DBBN4P15VJ74QRW"
)

// startServer starts the one API server of this package's tests when the first
// test needs it: fuzzing does not.
var startServer = sync.OnceValues(func() (*controlplane.ControlPlane, error) { return controlplane.Start() })

// started is set once startServer was called.
var started atomic.Bool

func apiServer(t testing.TB) *controlplane.ControlPlane {
	t.Helper()
	started.Store(true)
	server, err := startServer()
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func TestMain(m *testing.M) {
	code := m.Run()
	if started.Load() {
		if server, err := startServer(); err == nil {
			if err := server.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
	// The API server's clients share one HTTP/2 connection, which client-go keeps.
	if err := goleak.Find(goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*http2ClientConn).readLoop")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// view is a manager replica's View service whose facts a test sets.
type view struct {
	forwardingv1.UnimplementedViewServer

	mu       sync.Mutex
	channels map[string][]*forwardingv1.Connection
	failing  bool
	// holding keeps WaitEnforced from answering.
	holding bool
	// withdrawn ends WaitEnforced as a deletion does.
	withdrawn bool
	asked     chan struct{}
}

func (v *view) Connections(_ context.Context, request *forwardingv1.ConnectionsRequest) (*forwardingv1.ConnectionsResponse, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case v.asked <- struct{}{}:
	default:
	}
	if v.failing {
		return nil, status.Error(codes.Unavailable, "starting")
	}
	return &forwardingv1.ConnectionsResponse{Connections: v.channels[request.GetChannelId()]}, nil
}

func (v *view) WaitEnforced(ctx context.Context, _ *forwardingv1.WaitEnforcedRequest) (*forwardingv1.WaitEnforcedResponse, error) {
	v.mu.Lock()
	holding, failing, withdrawn := v.holding, v.failing, v.withdrawn
	v.mu.Unlock()
	switch {
	case failing:
		return nil, status.Error(codes.Unavailable, "starting")
	case withdrawn:
		return nil, status.Error(codes.NotFound, "deleted")
	case holding:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &forwardingv1.WaitEnforcedResponse{}, nil
}

func (v *view) join(channel string, connections ...*forwardingv1.Connection) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.channels[channel] = append(v.channels[channel], connections...)
}

func (v *view) set(change func(*view)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

func member(id string, role forwardingv1.Role) *forwardingv1.Connection {
	return &forwardingv1.Connection{
		ConnectionId: id, ClientId: "client-" + id[:3], BundleId: id, SessionId: "SESSION", Role: role,
		CreatedTime: timestamppb.New(time.UnixMicro(1_600_000_000_123_456)),
		Audio:       &forwardingv1.AudioCodec{CodecType: "OPUS"},
		Video:       &forwardingv1.VideoCodec{CodecType: "VP8", BitRate: 500},
	}
}

func sendrecv(id string) *forwardingv1.Connection {
	return member(id, forwardingv1.Role_ROLE_SENDRECV)
}

// listenView serves a replica and returns its address.
func listenView(t testing.TB) (*view, string) {
	t.Helper()
	v := &view{channels: map[string][]*forwardingv1.Connection{}, asked: make(chan struct{}, 1)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	forwardingv1.RegisterViewServer(grpcServer, v)
	served := make(chan error, 1)
	go func() { served <- grpcServer.Serve(listener) }()
	t.Cleanup(func() {
		grpcServer.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return v, listener.Addr().String()
}

// shim is the whole HTTP API over a real listener.
type shim struct {
	t       testing.TB
	url     string
	address string
	objects client.Client
	views   []*view
}

type option func(*Config)

func newClient(t testing.TB, config *rest.Config) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("RtpStreamPause"), meta.RESTScopeNamespace)
	objects, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// newShim starts a shim in front of as many replicas.
func newShim(t testing.TB, replicaCount int, options ...option) *shim {
	t.Helper()
	s := &shim{t: t, objects: newClient(t, apiServer(t).Config)}
	var managers []string
	for range replicaCount {
		v, address := listenView(t)
		s.views = append(s.views, v)
		managers = append(managers, address)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	replicas, err := live.NewReplicas(managers, log)
	if err != nil {
		t.Fatal(err)
	}
	replicas.Refresh(t.Context())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- replicas.Run(ctx) }()

	config := Config{Namespace: "default", Client: s.objects, Replicas: replicas, Log: log, Registerer: prometheus.NewRegistry()}
	for _, o := range options {
		o(&config)
	}
	handler, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	httpServer := httptest.NewUnstartedServer(handler)
	httpServer.Config.DisableGeneralOptionsHandler = true
	httpServer.Start()
	t.Cleanup(func() {
		httpServer.Close()
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	s.url, s.address = httpServer.URL, httpServer.Listener.Addr().String()
	return s
}

// post calls an operation and returns status and body.
func (s *shim) post(operation, body string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("x-sora-target", operation)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// expect calls an operation and fails the test unless the answer is this one.
func (s *shim) expect(operation, body string, wantStatus int, wantBody string) {
	s.t.Helper()
	if gotStatus, got := s.post(operation, body); gotStatus != wantStatus || got != wantBody {
		s.t.Fatalf("%s %s\n got %d %s\nwant %d %s", operation, body, gotStatus, got, wantStatus, wantBody)
	}
}

// expectFailure is expect by the name of the error and a piece of its body.
func (s *shim) expectFailure(operation, body string, wantStatus int, wantName, wantPiece string) {
	s.t.Helper()
	gotStatus, got := s.post(operation, body)
	if gotStatus != wantStatus || !strings.Contains(got, `"error_type":"`+wantName+`"`) || !strings.Contains(got, wantPiece) {
		s.t.Fatalf("%s %s\n got %d %s\nwant %d %s with %s", operation, body, gotStatus, got, wantStatus, wantName, wantPiece)
	}
}

func edgeBody(channel, recv, send string) string {
	body, err := compactJSON(echo{channel, recv, send})
	if err != nil {
		panic(err)
	}
	return string(body)
}

func channelBody(channel string) string {
	body, err := compactJSON(map[string]string{"channel_id": channel})
	if err != nil {
		panic(err)
	}
	return string(body)
}

const (
	pauseTarget  = "Sora_20200401.PauseRtpStream"
	resumeTarget = "Sora_20200401.ResumeRtpStream"
	listTarget   = "Sora_20200401.ListPauseRtpStreams"
	whoTarget    = "Sora_20201013.ListChannelConnections"
)
