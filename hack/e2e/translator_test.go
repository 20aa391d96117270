package e2e

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// dialect makes of what a program of this build says what one of another build would
// say. It changes the message.
type dialect func(proto.Message)

// asItIs is what this build says.
func asItIs(proto.Message) {}

// earlier is what the first version of the protocol says: it can do nothing beyond.
func earlier(message proto.Message) {
	switch m := message.(type) {
	case *forwardingv1.SubscribeRequest:
		if hello := m.GetHello(); hello != nil {
			hello.Features = nil
		}
	case *forwardingv1.SubscribeResponse:
		if welcome := m.GetWelcome(); welcome != nil {
			welcome.Features = nil
		}
		unheard(message)
	}
}

// unheard is what a media server of the first version hears of what is asked: it does
// not know that edges can be told by receiver.
func unheard(message proto.Message) {
	if m, ok := message.(*forwardingv1.SubscribeResponse); ok {
		if edges := m.GetQuestion().GetWithheld(); edges != nil {
			edges.ByReceiver = false
		}
	}
}

// newFeature and newReason are what no other build knows.
const (
	newFeature = "of-a-later-version"
	newReason  = forwardingv1.Withheld(99)
)

// later is what a later version says: it can do more, and has more to say in every
// message.
func later(message proto.Message) {
	switch m := message.(type) {
	case *forwardingv1.SubscribeRequest:
		if hello := m.GetHello(); hello != nil {
			hello.Features = append(hello.Features, newFeature)
		}
		for _, edge := range m.GetAnswer().GetEdges() {
			for _, stream := range edge.GetStreams() { // A reason is an enum that grows.
				stream.Withheld = append(stream.Withheld, newReason)
			}
		}
	case *forwardingv1.SubscribeResponse:
		if welcome := m.GetWelcome(); welcome != nil {
			welcome.Features = append(welcome.Features, newFeature)
		}
	}
	addUnknown(message.ProtoReflect())
}

// unknownField is far beyond those there are.
const unknownField protowire.Number = 1000

// addUnknown gives the message, and those in it, fields that nobody knows.
func addUnknown(message protoreflect.Message) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				addUnknown(value.List().Get(i).Message())
			}
		default:
			addUnknown(value.Message())
		}

		return true
	})
	unknown := protowire.AppendTag(message.GetUnknown(), unknownField, protowire.VarintType)
	unknown = protowire.AppendVarint(unknown, 7)
	unknown = protowire.AppendTag(unknown, unknownField+1, protowire.BytesType)
	message.SetUnknown(protowire.AppendString(unknown, "of a later version"))
}

// Reasons of pauses that strange says in words that only a later version knows.
const (
	strangeSide = "a side of a later version"
	strangeKind = "a kind of a later version"
)

// strange is later, and names the sides and kinds of some pauses otherwise.
func strange(message proto.Message) {
	later(message)
	response, ok := message.(*forwardingv1.SubscribeResponse)
	if !ok {
		return
	}
	for _, pause := range response.GetTable().GetSet() {
		switch pause.GetReason() {
		case strangeSide: // Another member of the oneof.
			groups := protowire.AppendTag(nil, 9, protowire.BytesType)
			pause.Receivers = &forwardingv1.Side{}
			pause.GetReceivers().ProtoReflect().SetUnknown(protowire.AppendString(groups, "pupils"))
		case strangeKind:
			pause.Kinds = append(pause.Kinds, 9)
		}
	}
}

// translator stands before a manager and has it, or the media servers that come to
// it, speak another dialect.
type translator struct {
	forwardingv1.UnimplementedForwardingServer
	forwardingv1.UnimplementedPlacementServer

	server      *grpc.Server
	conn        *grpc.ClientConn
	served      sync.WaitGroup
	fromMedia   dialect
	fromManager dialect

	mu sync.Mutex
	// hello and welcome are the last ones, as they were passed on.
	hello   *forwardingv1.Hello
	welcome *forwardingv1.Welcome
}

// translate puts a translator between a manager and all media servers, whose streams
// begin anew. The test's end takes it away.
func translate(t *testing.T, m *manager, fromMedia, fromManager dialect) *translator {
	t.Helper()
	address, err := m.Address(t.Context(), "grpc")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr := &translator{
		server: grpc.NewServer(), conn: conn,
		fromMedia: fromMedia, fromManager: fromManager,
	}
	forwardingv1.RegisterForwardingServer(tr.server, tr)
	forwardingv1.RegisterPlacementServer(tr.server, tr)
	tr.served.Go(func() { _ = tr.server.Serve(listener) })
	m.mediaServers.cut()
	m.mediaServers.to(listener.Addr().String())
	t.Cleanup(func() {
		m.mediaServers.cut()
		m.mediaServers.to(address)
		tr.server.Stop()
		tr.served.Wait()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})

	return tr
}

// Subscribe passes both ways what is said, in the dialects.
func (tr *translator) Subscribe(
	near grpc.BidiStreamingServer[forwardingv1.SubscribeRequest, forwardingv1.SubscribeResponse],
) error {
	ctx, cancel := context.WithCancel(near.Context())
	defer cancel()
	far, err := forwardingv1.NewForwardingClient(tr.conn).Subscribe(ctx)
	if err != nil {
		return err
	}
	var passing sync.WaitGroup
	defer passing.Wait()
	passing.Go(func() {
		for {
			request, err := near.Recv()
			if err != nil {
				_ = far.CloseSend()

				return
			}
			tr.fromMedia(request)
			tr.note(request.GetHello(), nil)
			if far.Send(request) != nil {
				return
			}
		}
	})
	defer cancel()
	for {
		response, err := far.Recv()
		if err != nil {
			return err
		}
		tr.fromManager(response)
		tr.note(nil, response.GetWelcome())
		if err := near.Send(response); err != nil {
			return err
		}
	}
}

// Locate passes the question on, as the next two do.
func (tr *translator) Locate(
	ctx context.Context, request *forwardingv1.LocateRequest,
) (*forwardingv1.LocateResponse, error) {
	return passOn(ctx, tr, request, forwardingv1.NewPlacementClient(tr.conn).Locate)
}

func (tr *translator) Claim(
	ctx context.Context, request *forwardingv1.ClaimRequest,
) (*forwardingv1.ClaimResponse, error) {
	return passOn(ctx, tr, request, forwardingv1.NewPlacementClient(tr.conn).Claim)
}

func (tr *translator) Release(
	ctx context.Context, request *forwardingv1.ReleaseRequest,
) (*forwardingv1.ReleaseResponse, error) {
	return passOn(ctx, tr, request, forwardingv1.NewPlacementClient(tr.conn).Release)
}

func passOn[Request, Response proto.Message](
	ctx context.Context, tr *translator, request Request,
	call func(context.Context, Request, ...grpc.CallOption) (Response, error),
) (Response, error) {
	tr.fromMedia(request)
	response, err := call(ctx, request)
	if err == nil {
		tr.fromManager(response)
	}

	return response, err
}

func (tr *translator) note(hello *forwardingv1.Hello, welcome *forwardingv1.Welcome) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if hello != nil {
		tr.hello, tr.welcome = hello, nil
	}
	if welcome != nil {
		tr.welcome = welcome
	}
}

// greeted tells whether a media server has been welcomed, with the features named.
func (tr *translator) greeted() (features string, done bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()

	return strings.Join(append(tr.hello.GetFeatures(), tr.welcome.GetFeatures()...), " "),
		tr.hello != nil && tr.welcome != nil
}
