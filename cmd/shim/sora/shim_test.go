package sora

import (
	"context"
	"fmt"
	"io"
	"log/slog"
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
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
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

// shim is the whole HTTP API over a real listener.
type shim struct {
	t       testing.TB
	handler *Handler
	url     string
	address string
	objects client.Client
	views   []*view
}

type option func(*Config)

func newClient(t testing.TB, config *rest.Config) client.Client {
	t.Helper()
	objects, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}

	return objects
}

// newShim starts a shim in front of as many replicas.
func newShim(t testing.TB, replicaCount int, options ...option) *shim {
	t.Helper()
	s := &shim{t: t, objects: newClient(t, apiServer(t).Config)}
	var entries []string
	for range replicaCount {
		v, address := listenView(t, s.objects)
		s.views = append(s.views, v)
		entries = append(entries, address)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	replicas, err := live.NewReplicas(entries, "default", managers.Credentials{}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		replicas.Run(ctx)
	}()

	config := Config{
		Namespace:      "default",
		Client:         s.objects,
		Replicas:       replicas,
		AllowAnonymous: true,
		Log:            log,
		Registerer:     prometheus.NewRegistry(),
	}
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
		<-ended
	})
	// Addresses that need no look-up are known at once, but by another goroutine.
	for deadline := time.Now().Add(10 * time.Second); replicas.Serving(t.Context()) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("no replica serves")
		}
	}
	s.handler, s.url, s.address = handler, httpServer.URL, httpServer.Listener.Addr().String()

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
	if gotStatus != wantStatus || !strings.Contains(got, `"error_type":"`+wantName+`"`) ||
		!strings.Contains(got, wantPiece) {
		s.t.Fatalf("%s %s\n got %d %s\nwant %d %s with %s", operation, body, gotStatus, got, wantStatus, wantName, wantPiece)
	}
}

// connectionsOf is the edge of two connections.
func connectionsOf(channel, recv, send string) edge {
	return edge{channel, end{id: recv}, end{id: send}}
}

func edgeBody(channel, recv, send string) string {
	body, err := compactJSON(connectionsOf(channel, recv, send).echo())
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

	disconnectConnectionTarget = "Sora_20151104.DisconnectConnection"
	disconnectClientTarget     = "Sora_20151104.DisconnectClient"
	disconnectChannelTarget    = "Sora_20151104.DisconnectChannel"
)
