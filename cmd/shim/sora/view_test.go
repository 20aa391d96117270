package sora

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// view stands in for a manager replica, over real gRPC: who is connected is what a
// test says, what is paused is what the API server has.
type view struct {
	forwardingv1.UnimplementedViewServer
	forwardingv1.UnimplementedControlServer
	objects client.Client

	mu       sync.Mutex
	changed  chan struct{} // closed at the next change
	channels map[string][]*forwardingv1.ChannelConnection
	// failing is what every call fails with.
	failing error
	// outOfTouch says that a media server is.
	outOfTouch bool
	// behind makes List and Explain fail.
	behind bool
	// holding keeps WaitEnforced from answering.
	holding bool
	// refusing is what WaitEnforced fails with.
	refusing error
	// moveAfter, once that many questions for connections were answered, puts each
	// connection on a media server of its own.
	moveAfter int
	// extra are edges beside those that are computed, and names what List says when
	// there are too many.
	extra []*forwardingv1.Edge
	names []string
	// looked are the questions for connections, without those about nobody.
	looked []*forwardingv1.ConnectionsRequest
	asked  chan struct{} // gets one with each of them, if there is room
	// versions are those that List and Explain were asked for.
	versions []uint64
}

// listenView serves a replica and returns its address.
func listenView(t testing.TB, objects client.Client) (*view, string) {
	t.Helper()
	v := &view{
		objects:  objects,
		channels: map[string][]*forwardingv1.ChannelConnection{},
		changed:  make(chan struct{}),
		asked:    make(chan struct{}, 1),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	forwardingv1.RegisterViewServer(server, v)
	forwardingv1.RegisterControlServer(server, v)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})

	return v, listener.Addr().String()
}

func (v *view) set(change func(*view)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *view) join(channel string, connections ...*forwardingv1.Connection) {
	v.joinAt("mediaserver-0", channel, connections...)
}

func (v *view) joinAt(server, channel string, connections ...*forwardingv1.Connection) {
	v.set(func(v *view) {
		for _, c := range connections {
			v.channels[channel] = append(v.channels[channel], &forwardingv1.ChannelConnection{
				Connection: c, MediaServer: server,
			})
		}
	})
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

func (v *view) check(namespace string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if namespace != "default" {
		return status.Error(codes.InvalidArgument, "namespace not served")
	}

	return v.failing
}

func (v *view) Connections(
	request *forwardingv1.ConnectionsRequest, stream grpc.ServerStreamingServer[forwardingv1.ConnectionsResponse],
) error {
	if err := v.check(request.GetNamespace()); err != nil {
		return err
	}
	v.mu.Lock()
	if !slices.Contains(request.GetConnectionIds(), "-") {
		v.looked = append(v.looked, request)
		select {
		case v.asked <- struct{}{}:
		default:
		}
	}
	v.mu.Unlock()
	deadline := time.After(request.GetWait().AsDuration())
	for {
		v.mu.Lock()
		changed := v.changed
		members, outOfTouch := slices.Clone(v.channels[request.GetChannelId()]), v.outOfTouch
		if v.moveAfter > 0 && len(v.looked) > v.moveAfter {
			for i, c := range members {
				members[i] = &forwardingv1.ChannelConnection{
					Connection: c.GetConnection(), MediaServer: c.GetConnection().GetConnectionId(),
				}
			}
		}
		v.mu.Unlock()
		var found []*forwardingv1.ChannelConnection
		known := 0
		for _, c := range members {
			byID := slices.Contains(request.GetConnectionIds(), c.GetConnection().GetConnectionId())
			if byID {
				known++
			}
			if byID || slices.Contains(request.GetClientIds(), c.GetConnection().GetClientId()) ||
				len(request.GetConnectionIds())+len(request.GetClientIds()) == 0 {
				found = append(found, c)
			}
		}
		answer := func() error {
			// In parts, as a manager answers.
			for _, c := range found {
				if err := stream.Send(&forwardingv1.ConnectionsResponse{
					Connections: []*forwardingv1.ChannelConnection{c}, Occupied: true,
				}); err != nil {
					return err
				}
			}

			return stream.Send(&forwardingv1.ConnectionsResponse{Occupied: len(members) > 0, OutOfTouch: outOfTouch})
		}
		if known == len(request.GetConnectionIds()) {
			return answer()
		}
		select {
		case <-changed:
		case <-deadline:
			return answer()
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// pauses are the channel's in force, oldest first.
func (v *view) pauses(ctx context.Context, channelID string) ([]v1alpha1.RtpStreamPause, error) {
	var list v1alpha1.RtpStreamPauseList
	if err := v.objects.List(ctx, &list, client.InNamespace("default")); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	list.Items = slices.DeleteFunc(list.Items, func(p v1alpha1.RtpStreamPause) bool {
		return p.Spec.ChannelID != channelID || p.DeletionTimestamp != nil ||
			p.Spec.ExpiresAt != nil && p.Spec.ExpiresAt.Time.Before(time.Now())
	})
	slices.SortFunc(list.Items, func(a, b v1alpha1.RtpStreamPause) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(string(a.UID), string(b.UID)))
	})

	return list.Items, nil
}

func names(side *v1alpha1.Side, c *forwardingv1.Connection) bool {
	switch {
	case side.Everyone != nil:
		return true
	case side.EveryoneExcept != nil:
		return !slices.Contains(side.EveryoneExcept.ConnectionIDs, c.GetConnectionId()) &&
			!slices.Contains(side.EveryoneExcept.ClientIDs, c.GetClientId())
	}

	return slices.Contains(side.ConnectionIDs, c.GetConnectionId()) || slices.Contains(side.ClientIDs, c.GetClientId())
}

// edges are the channel's live ones, withheld or not; one alone, if it is named.
func (v *view) edges(
	ctx context.Context, channelID string, version uint64, only *forwardingv1.EdgeName,
) ([]*forwardingv1.Edge, error) {
	pauses, err := v.pauses(ctx, channelID)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.versions = append(v.versions, version)
	if v.behind || v.outOfTouch && len(v.channels[channelID]) > 0 {
		return nil, status.Error(codes.Unavailable, "behind")
	}
	var edges []*forwardingv1.Edge
	for _, receiver := range v.channels[channelID] {
		for _, sender := range v.channels[channelID] {
			if !forwardingv1.LiveEdge(receiver.GetConnection(), sender.GetConnection()) ||
				only != nil && (receiver.GetConnection().GetConnectionId() != only.GetRecvConnectionId() ||
					sender.GetConnection().GetConnectionId() != only.GetSendConnectionId()) {
				continue
			}
			edge := &forwardingv1.Edge{
				RecvConnectionId: receiver.GetConnection().GetConnectionId(),
				SendConnectionId: sender.GetConnection().GetConnectionId(),
				RecvRole:         receiver.GetConnection().GetRole(),
				Streams: []*forwardingv1.Stream{
					{Kind: forwardingv1.Kind_KIND_AUDIO}, {Kind: forwardingv1.Kind_KIND_VIDEO},
				},
			}
			for _, pause := range pauses {
				if !names(&pause.Spec.Receivers, receiver.GetConnection()) || !names(&pause.Spec.Senders, sender.GetConnection()) {
					continue
				}
				edge.PauseUids, edge.PauseNames = append(edge.PauseUids, string(pause.UID)), append(edge.PauseNames, pause.Name)
				if slices.Contains(pause.Spec.Kinds, v1alpha1.KindAudio) {
					edge.Streams[0].Withheld = []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_PAUSED}
				}
				if pausesVideo(&pause.Spec) {
					edge.Streams[1].Withheld = []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_PAUSED}
				}
			}
			edges = append(edges, edge)
		}
	}

	return append(edges, v.extra...), nil
}

func (v *view) List(
	request *forwardingv1.ListRequest, stream grpc.ServerStreamingServer[forwardingv1.ListResponse],
) error {
	if err := v.check(request.GetNamespace()); err != nil {
		return err
	}
	edges, err := v.edges(stream.Context(), request.GetChannelId(), request.GetVersion(), nil)
	if err != nil {
		return err
	}
	edges = slices.DeleteFunc(edges, func(e *forwardingv1.Edge) bool { return !paused(e, request.GetKind()) })
	count := uint64(len(edges))
	if count > uint64(request.GetLimit()) {
		v.mu.Lock()
		names := v.names
		v.mu.Unlock()

		return stream.Send(&forwardingv1.ListResponse{Count: count, PauseNames: names})
	}
	// The last sender first: an order is the shim's business.
	slices.Reverse(edges)
	for part := range slices.Chunk(edges, 1000) {
		response := &forwardingv1.ListResponse{}
		for _, edge := range part {
			response.Receivers = append(response.Receivers, &forwardingv1.ReceiverEdges{
				RecvConnectionId:  edge.GetRecvConnectionId(),
				RecvRole:          edge.GetRecvRole(),
				SendConnectionIds: []string{edge.GetSendConnectionId()},
			})
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}

	return stream.Send(&forwardingv1.ListResponse{Count: count})
}

func (v *view) Explain(
	request *forwardingv1.ExplainRequest, stream grpc.ServerStreamingServer[forwardingv1.ExplainResponse],
) error {
	if err := v.check(request.GetNamespace()); err != nil {
		return err
	}
	pauses, err := v.pauses(stream.Context(), request.GetChannelId())
	if err != nil {
		return err
	}
	edges, err := v.edges(stream.Context(), request.GetChannelId(), request.GetVersion(), request.GetEdge())
	if err != nil {
		return err
	}
	if pause := request.GetPause(); pause != nil {
		if !slices.ContainsFunc(pauses, func(p v1alpha1.RtpStreamPause) bool { return string(p.UID) == pause.GetUid() }) {
			return status.Error(codes.NotFound, "no such pause")
		}
		edges = slices.DeleteFunc(edges, func(e *forwardingv1.Edge) bool {
			return !slices.Contains(e.GetPauseUids(), pause.GetUid())
		})

		return stream.Send(&forwardingv1.ExplainResponse{Count: uint64(len(edges))})
	}
	name := request.GetEdge()
	for _, edge := range edges {
		if edge.GetRecvConnectionId() == name.GetRecvConnectionId() &&
			edge.GetSendConnectionId() == name.GetSendConnectionId() {
			return stream.Send(&forwardingv1.ExplainResponse{Edges: []*forwardingv1.Edge{edge}, Count: 1})
		}
	}

	return nil
}

func (v *view) WaitEnforced(
	ctx context.Context, request *forwardingv1.WaitEnforcedRequest,
) (*forwardingv1.WaitEnforcedResponse, error) {
	if err := v.check(request.GetNamespace()); err != nil {
		return nil, err
	}
	v.mu.Lock()
	holding, refusing := v.holding, v.refusing
	v.mu.Unlock()
	if refusing != nil {
		return nil, refusing
	}
	if holding {
		<-ctx.Done()

		return nil, ctx.Err()
	}
	var list v1alpha1.RtpStreamPauseList
	if err := v.objects.List(ctx, &list, client.InNamespace("default")); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	for _, pause := range list.Items {
		if string(pause.UID) != request.GetUid() {
			continue
		}
		if pause.Generation != request.GetGeneration() {
			return nil, status.Error(codes.Unavailable, "another generation")
		}
		var servers []string
		v.mu.Lock()
		for _, c := range v.channels[pause.Spec.ChannelID] {
			servers = append(servers, c.GetMediaServer())
		}
		v.mu.Unlock()
		if len(servers) == 0 { // A media server may not have reached this replica yet.
			<-ctx.Done()

			return nil, ctx.Err()
		}

		return &forwardingv1.WaitEnforcedResponse{MediaServers: slices.Compact(servers)}, nil
	}

	return nil, status.Error(codes.NotFound, "deleted")
}

func (v *view) Disconnect(
	_ context.Context, request *forwardingv1.DisconnectRequest,
) (*forwardingv1.DisconnectResponse, error) {
	if err := v.check(request.GetNamespace()); err != nil {
		return nil, err
	}
	var count uint64
	v.set(func(v *view) {
		v.channels[request.GetChannelId()] = slices.DeleteFunc(v.channels[request.GetChannelId()],
			func(c *forwardingv1.ChannelConnection) bool {
				dismissed := request.GetDismissal().GetEveryone() != nil ||
					c.GetConnection().GetConnectionId() == request.GetDismissal().GetConnectionId() ||
					c.GetConnection().GetClientId() == request.GetDismissal().GetClientId()
				if dismissed {
					count++
				}

				return dismissed
			})
	})

	return &forwardingv1.DisconnectResponse{Connections: count}, nil
}
