package live

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/internal/ports"
)

// manager is a replica that says what the test says.
type manager struct {
	forwardingv1.UnimplementedViewServer
	forwardingv1.UnimplementedControlServer

	connections          []string // of mediaserver-0
	occupied, outOfTouch bool
	stale                bool
	connectionsError     error
	edges                []string // the receivers' ids
	pauseNames           []string
	listError            error
	mediaServers         []string
	waitError            error
	explainError         error
	has                  time.Time // when it has the pause; zero: already
	dismissed            uint64
	// silent never answers.
	silent bool
	// dead is not even there.
	dead bool
	// refuses is how many connections are ended before one is served.
	refuses int32
	// recovers makes List answer once it has failed that often.
	recovers int32

	lists, waits atomic.Int32
}

func (m *manager) Connections(
	request *forwardingv1.ConnectionsRequest, stream grpc.ServerStreamingServer[forwardingv1.ConnectionsResponse],
) error {
	if m.silent {
		<-stream.Context().Done()

		return stream.Context().Err()
	}
	if m.connectionsError != nil {
		return m.connectionsError
	}
	response := &forwardingv1.ConnectionsResponse{Occupied: m.occupied, OutOfTouch: m.outOfTouch, Stale: m.stale}
	for _, id := range m.connections {
		if len(request.GetConnectionIds()) == 0 || slices.Contains(request.GetConnectionIds(), id) {
			response.Connections = append(response.Connections, &forwardingv1.ChannelConnection{
				Connection: &forwardingv1.Connection{ConnectionId: id}, MediaServer: "mediaserver-0", OutOfTouch: m.outOfTouch,
			})
		}
	}

	return stream.Send(response)
}

func (m *manager) List(
	_ *forwardingv1.ListRequest, stream grpc.ServerStreamingServer[forwardingv1.ListResponse],
) error {
	if m.silent {
		<-stream.Context().Done()

		return stream.Context().Err()
	}
	if m.listError != nil && (m.recovers == 0 || m.lists.Add(1) <= m.recovers) {
		return m.listError
	}
	for i, recv := range m.edges { // in parts
		part := &forwardingv1.ListResponse{Count: uint64(len(m.edges)), PauseNames: m.pauseNames}
		if i%2 == 0 { // as versions tell them that know no receivers
			part.Edges = []*forwardingv1.Edge{{RecvConnectionId: recv, SendConnectionId: "S"}}
		} else {
			part.Receivers = []*forwardingv1.ReceiverEdges{{RecvConnectionId: recv, SendConnectionIds: []string{"S"}}}
		}
		if err := stream.Send(part); err != nil {
			return err
		}
	}

	return nil
}

func (m *manager) WaitEnforced(
	ctx context.Context, _ *forwardingv1.WaitEnforcedRequest,
) (*forwardingv1.WaitEnforcedResponse, error) {
	m.waits.Add(1)
	if m.silent {
		<-ctx.Done()

		return nil, ctx.Err()
	}
	if m.waitError == nil && len(m.mediaServers) == 0 { // as managers do while nobody hosts the channel
		<-ctx.Done()

		return nil, ctx.Err()
	}

	return &forwardingv1.WaitEnforcedResponse{MediaServers: m.mediaServers}, m.waitError
}

func (m *manager) Explain(
	request *forwardingv1.ExplainRequest, stream grpc.ServerStreamingServer[forwardingv1.ExplainResponse],
) error {
	if m.silent {
		<-stream.Context().Done()

		return stream.Context().Err()
	}
	if request.GetPause() != nil && time.Now().Before(m.has) {
		select {
		case <-time.After(time.Until(m.has)):
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
	if m.explainError != nil {
		return m.explainError
	}

	return stream.Send(&forwardingv1.ExplainResponse{})
}

func (m *manager) Disconnect(
	context.Context, *forwardingv1.DisconnectRequest,
) (*forwardingv1.DisconnectResponse, error) {
	return &forwardingv1.DisconnectResponse{Connections: m.dismissed}, m.listError
}

// reluctant is a listener that ends the first connections at once.
type reluctant struct {
	net.Listener
	refuses int32
}

func (r *reluctant) Accept() (net.Conn, error) {
	for ; r.refuses > 0; r.refuses-- {
		connection, err := r.Listener.Accept()
		if err != nil {
			return nil, err
		}
		_ = connection.Close()
	}

	return r.Listener.Accept()
}

// serve starts the managers and returns them as the replicas that are asked.
func serve(t *testing.T, served ...*manager) *Replicas {
	t.Helper()
	var addresses []string
	for _, m := range served {
		held, err := ports.Hold("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = held.Close() })
		addresses = append(addresses, held.Address().String())
		if m.dead {
			continue
		}
		listener, err := net.ListenTCP("tcp", held.Address())
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		forwardingv1.RegisterViewServer(server, m)
		forwardingv1.RegisterControlServer(server, m)
		served := make(chan error, 1)
		go func() { served <- server.Serve(&reluctant{listener, m.refuses}) }()
		t.Cleanup(func() {
			server.Stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
	r, err := NewReplicas(addresses, "default", managers.Credentials{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		if replicas, err := r.all(); err == nil && len(replicas) == len(served) {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatal("the replicas are not known")
		}
	}
}

var unavailable = status.Error(codes.Unavailable, "behind")
