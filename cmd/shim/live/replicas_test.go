package live

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestManagersFlag(t *testing.T) {
	for _, managers := range [][]string{nil, {"manager"}, {":7300"}, {"manager:"}, {"127.0.0.1:7300", ""}} {
		if _, err := NewReplicas(managers, quiet); err == nil {
			t.Errorf("%q is accepted", managers)
		}
	}
}

// TestRefresh: a name stands for all of its addresses; what DNS forgets goes,
// and what DNS fails to say stays.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := NewReplicas([]string{"manager.nagi:1"}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var addresses []string
		var failure error
		set := func(a []string, err error) {
			mu.Lock()
			defer mu.Unlock()
			addresses, failure = a, err
		}
		r.resolve = func(context.Context, string) ([]string, error) {
			mu.Lock()
			defer mu.Unlock()
			return addresses, failure
		}
		if r.Known() == nil {
			t.Error("known before the first look-up")
		}
		for _, step := range []struct {
			addresses []string
			err       error
			want      int
		}{
			{nil, errors.New("no such host"), 0},
			{[]string{"127.0.0.1", "127.0.0.2", "::1"}, nil, 3},
			{nil, errors.New("DNS is down"), 3},
			{[]string{"127.0.0.2"}, nil, 1},
		} {
			set(step.addresses, step.err)
			r.Refresh(t.Context())
			if got := len(r.views()); got != step.want {
				t.Errorf("%v %v: %d replicas, want %d", step.addresses, step.err, got, step.want)
			}
		}
		r.close()
		r.Refresh(t.Context())
		if len(r.views()) != 0 {
			t.Error("dialled after the end")
		}
	})
}

// replica answers with one connection, or not at all.
type replica struct {
	forwardingv1.UnimplementedViewServer
	connection string
	silent     bool
}

func (r *replica) Connections(ctx context.Context, _ *forwardingv1.ConnectionsRequest) (*forwardingv1.ConnectionsResponse, error) {
	if r.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &forwardingv1.ConnectionsResponse{Connections: []*forwardingv1.Connection{{ConnectionId: r.connection}}}, nil
}

func serve(t *testing.T, r *replica) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	forwardingv1.RegisterViewServer(server, r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// TestSilentReplica: one that hangs delays the others' answer by the grace only,
// and alone it is no answer.
func TestSilentReplica(t *testing.T) {
	silent := serve(t, &replica{silent: true})
	for _, test := range []struct {
		managers []string
		wanted   []string
		want     int
	}{
		{[]string{silent, serve(t, &replica{connection: "a"}), serve(t, &replica{connection: "b"})}, nil, 2},
		{[]string{silent, serve(t, &replica{connection: "a"}), serve(t, &replica{connection: "b"})}, []string{"a", "b"}, 2},
		{[]string{silent, serve(t, &replica{connection: "a"})}, []string{"c"}, 1},
		{[]string{silent}, []string{"a"}, -1},
	} {
		r, err := NewReplicas(test.managers, quiet)
		if err != nil {
			t.Fatal(err)
		}
		r.Refresh(t.Context())
		channel, err := r.ChannelWith(t.Context(), "default", "sora", test.wanted...)
		r.close()
		if test.want < 0 {
			if !errors.Is(err, ErrNoReplica) {
				t.Errorf("%v, want ErrNoReplica", err)
			}
			continue
		}
		if err != nil || len(channel.Connections()) != test.want {
			t.Errorf("%v wanted: %v %v", test.wanted, channel.Connections(), err)
		}
	}
}
