package serve

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

func stateOf(uid string, state forwardingv1.State) *forwardingv1.PauseState {
	return &forwardingv1.PauseState{Uid: uid, Digest: make([]byte, forwardingv1.DigestBytes), State: state}
}

// badMessages are what a stream ends at with INVALID_ARGUMENT, and a word of the
// text that tells why.
func badMessages(namespace string) map[string][]*forwardingv1.SubscribeRequest {
	long := strings.Repeat("x", maxIDBytes+1)
	hello := func(change func(*forwardingv1.Hello)) []*forwardingv1.SubscribeRequest {
		m := helloOf(namespace, "ms")
		change(m.GetHello())

		return []*forwardingv1.SubscribeRequest{m}
	}
	after := func(m ...*forwardingv1.SubscribeRequest) []*forwardingv1.SubscribeRequest {
		return append([]*forwardingv1.SubscribeRequest{helloOf(namespace, "ms")}, m...)
	}
	report := func(change func(*forwardingv1.ChannelReport)) []*forwardingv1.SubscribeRequest {
		r := wholeReport("lobby", "R")
		change(r)

		return after(said(r))
	}
	with := func(change func(*forwardingv1.Connection)) []*forwardingv1.SubscribeRequest {
		return report(func(r *forwardingv1.ChannelReport) { change(r.GetJoined()[0]) })
	}
	acknowledge := func(change func(*forwardingv1.Acknowledgement)) []*forwardingv1.SubscribeRequest {
		a := &forwardingv1.Acknowledgement{ChannelId: "lobby", Instance: 1, Epoch: 1, Set: []*forwardingv1.PauseState{
			stateOf("u", forwardingv1.State_STATE_MATCHING),
		}}
		change(a)

		return after(said(wholeReport("lobby", "R")), acked(a))
	}
	answer := func(change func(*forwardingv1.Edge)) []*forwardingv1.SubscribeRequest {
		edge := &forwardingv1.Edge{
			RecvConnectionId: "R",
			SendConnectionId: "S",
			RecvRole:         forwardingv1.Role_ROLE_RECVONLY,
			Streams:          []*forwardingv1.Stream{{Kind: forwardingv1.Kind_KIND_VIDEO}},
		}
		change(edge)

		return after(&forwardingv1.SubscribeRequest{
			Message: &forwardingv1.SubscribeRequest_Answer{Answer: &forwardingv1.Answer{Edges: []*forwardingv1.Edge{edge}}},
		})
	}
	receiver := func(change func(*forwardingv1.ReceiverEdges)) []*forwardingv1.SubscribeRequest {
		edges := &forwardingv1.ReceiverEdges{
			RecvConnectionId: "R", SendConnectionIds: []string{"S"}, RecvRole: forwardingv1.Role_ROLE_RECVONLY,
		}
		change(edges)

		return after(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Answer{
			Answer: &forwardingv1.Answer{Receivers: []*forwardingv1.ReceiverEdges{edges}},
		}})
	}
	tooBig := uint32(0x10000)
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), make([]byte, maxConnectionBytes))

	return map[string][]*forwardingv1.SubscribeRequest{
		"not Hello":              {said(wholeReport("lobby", "R"))},
		"hello.namespace":        hello(func(h *forwardingv1.Hello) { h.Namespace = "" }),
		"hello.media_server is":  hello(func(h *forwardingv1.Hello) { h.MediaServer = "" }),
		"hello.media_server has": hello(func(h *forwardingv1.Hello) { h.MediaServer = long }),
		"hello.incarnation is":   hello(func(h *forwardingv1.Hello) { h.Incarnation = "" }),
		"hello.features has":     hello(func(h *forwardingv1.Hello) { h.Features = make([]string, maxFeatures+1) }),
		"hello.features[0]":      hello(func(h *forwardingv1.Hello) { h.Features = []string{""} }),
		"not watched here":       hello(func(h *forwardingv1.Hello) { h.Namespace = "elsewhere" }),
		"Hello came twice":       after(helloOf(namespace, "ms")),
		"ReportComplete came":    after(completion, completion),
		"empty or of a kind":     after(&forwardingv1.SubscribeRequest{}),
		"resend.channel_id": after(&forwardingv1.SubscribeRequest{
			Message: &forwardingv1.SubscribeRequest_Resend{Resend: &forwardingv1.Resend{}},
		}),
		"clock.time": after(&forwardingv1.SubscribeRequest{
			Message: &forwardingv1.SubscribeRequest_Clock{Clock: &forwardingv1.Clock{}},
		}),
		"report.channel_id":      report(func(r *forwardingv1.ChannelReport) { r.ChannelId = "" }),
		"report.instance is 0":   report(func(r *forwardingv1.ChannelReport) { r.Instance = 0 }),
		"report.epoch is 0":      report(func(r *forwardingv1.ChannelReport) { r.Epoch = 0 }),
		"report.base_epoch is 1": report(func(r *forwardingv1.ChannelReport) { r.BaseEpoch = 1 }),
		"report.left comes":      report(func(r *forwardingv1.ChannelReport) { r.Left = []string{"S"} }),
		"report.left[0]": report(func(r *forwardingv1.ChannelReport) {
			r.Epoch, r.BaseEpoch, r.Left = 2, 1, []string{""}
		}),
		"report.closed comes": report(func(r *forwardingv1.ChannelReport) { r.Closed = true }),
		"another had not ended": after(
			said(&forwardingv1.ChannelReport{ChannelId: "lobby", Instance: 1, Epoch: 1, More: true}),
			said(wholeReport("lobby", "R")),
			said(&forwardingv1.ChannelReport{ChannelId: "lobby", Instance: 1, Epoch: 3, More: true}),
			said(&forwardingv1.ChannelReport{ChannelId: "lobby", Instance: 1, Epoch: 4}),
		),
		"neither goes back": after(said(&forwardingv1.ChannelReport{
			ChannelId: "lobby", Instance: 2, Epoch: 2, Joined: []*forwardingv1.Connection{connection("R")},
		}), said(wholeReport("lobby", "R"))),
		"report.joined is empty": after(said(wholeReport("lobby"))),
		"whole report of channel": after(
			said(&forwardingv1.ChannelReport{ChannelId: "lobby", Instance: 1, Epoch: 1, More: true}),
			said(wholeReport("lobby")),
		),
		"connection_id is empty": with(func(c *forwardingv1.Connection) { c.ConnectionId = "" }),
		"client_id has":          with(func(c *forwardingv1.Connection) { c.ClientId = long }),
		"bundle_id has":          with(func(c *forwardingv1.Connection) { c.BundleId = long }),
		"session_id has":         with(func(c *forwardingv1.Connection) { c.SessionId = long }),
		"audio.codec_type has": with(func(c *forwardingv1.Connection) {
			c.Audio = &forwardingv1.AudioCodec{CodecType: long}
		}),
		"video.codec_type has": with(func(c *forwardingv1.Connection) {
			c.Video = &forwardingv1.VideoCodec{CodecType: long}
		}),
		"joined[0] has":    with(func(c *forwardingv1.Connection) { c.ProtoReflect().SetUnknown(unknown) }),
		"created_time":     with(func(c *forwardingv1.Connection) { c.CreatedTime = &timestamppb.Timestamp{Nanos: -1} }),
		"joined[0].role 0": with(func(c *forwardingv1.Connection) { c.Role = forwardingv1.Role_ROLE_UNSPECIFIED }),
		"role 77":          with(func(c *forwardingv1.Connection) { c.Role = 77 }),
		`connection_id "R" comes`: report(func(r *forwardingv1.ChannelReport) {
			r.Joined = append(r.Joined, connection("R"))
		}),
		"acknowledgement.channel":  acknowledge(func(a *forwardingv1.Acknowledgement) { a.ChannelId = "" }),
		"acknowledgement.instance": acknowledge(func(a *forwardingv1.Acknowledgement) { a.Instance = 0 }),
		"acknowledgement.epoch is": acknowledge(func(a *forwardingv1.Acknowledgement) { a.Epoch = 0 }),
		"acknowledgement.removed come": acknowledge(func(a *forwardingv1.Acknowledgement) {
			a.Whole, a.Removed = true, []string{"v"}
		}),
		"acknowledgement.removed[0]": acknowledge(func(a *forwardingv1.Acknowledgement) { a.Removed = []string{""} }),
		"set[0].uid is empty":        acknowledge(func(a *forwardingv1.Acknowledgement) { a.Set[0].Uid = "" }),
		`uid "u" comes twice`: acknowledge(func(a *forwardingv1.Acknowledgement) {
			a.Set = append(a.Set, a.GetSet()[0])
		}),
		"set[0].uid has 65 bytes": acknowledge(func(a *forwardingv1.Acknowledgement) {
			a.Set[0].Uid = long[:maxUIDBytes+1]
		}),
		"removed[1] has 65 bytes": acknowledge(func(a *forwardingv1.Acknowledgement) {
			a.Removed = []string{"v", long[:maxUIDBytes+1]}
		}),
		"digest has 3 bytes": acknowledge(func(a *forwardingv1.Acknowledgement) { a.Set[0].Digest = []byte("abc") }),
		"set[0].state 0":     acknowledge(func(a *forwardingv1.Acknowledgement) { a.Set[0].State = 0 }),
		"it does not go back": after(said(&forwardingv1.ChannelReport{
			ChannelId: "lobby", Instance: 1, Epoch: 5, Joined: []*forwardingv1.Connection{connection("R")},
		}), acked(&forwardingv1.Acknowledgement{ChannelId: "lobby", Instance: 1, Epoch: 5, Whole: true}),
			acked(&forwardingv1.Acknowledgement{ChannelId: "lobby", Instance: 1, Epoch: 4})),
		"recv_connection_id":        answer(func(e *forwardingv1.Edge) { e.RecvConnectionId = "" }),
		"send_connection_id":        answer(func(e *forwardingv1.Edge) { e.SendConnectionId = "" }),
		"recv_role 0":               answer(func(e *forwardingv1.Edge) { e.RecvRole = 0 }),
		"receivers[0].recv_connect": receiver(func(r *forwardingv1.ReceiverEdges) { r.RecvConnectionId = "" }),
		"receivers[0].recv_role 0":  receiver(func(r *forwardingv1.ReceiverEdges) { r.RecvRole = 0 }),
		"send_connection_ids[1]": receiver(func(r *forwardingv1.ReceiverEdges) {
			r.SendConnectionIds = []string{"S", long}
		}),
		"pause_uids[0]":      answer(func(e *forwardingv1.Edge) { e.PauseUids = []string{long} }),
		"names 20001 pauses": answer(func(e *forwardingv1.Edge) { e.PauseUids = make([]string, tables.MaxPauses+1) }),
		"pause_names is set": answer(func(e *forwardingv1.Edge) { e.PauseNames = []string{"pause"} }),
		"withheld gives 17 reasons": answer(func(e *forwardingv1.Edge) {
			e.Streams[0].Withheld = make([]forwardingv1.Withheld, maxWithheld+1)
		}),
		"answer.error has 4097": after(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Answer{
			Answer: &forwardingv1.Answer{Error: strings.Repeat("x", maxErrorBytes+1)},
		}}),
		"answer.pauses[0].uid has": after(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Answer{
			Answer: &forwardingv1.Answer{Pauses: []*forwardingv1.PauseCount{{Uid: long}}},
		}}),
		"kind 0":                   answer(func(e *forwardingv1.Edge) { e.Streams[0].Kind = 0 }),
		"KIND_VIDEO comes twice":   answer(func(e *forwardingv1.Edge) { e.Streams = append(e.Streams, e.GetStreams()[0]) }),
		"last_sequence_number is ": answer(func(e *forwardingv1.Edge) { e.Streams[0].LastSequenceNumber = &tooBig }),
		"last_retransmission_sequence": answer(func(e *forwardingv1.Edge) {
			e.Streams[0].LastRetransmissionSequenceNumber = &tooBig
		}),
	}
}

func TestBadMessagesEndTheirStreamAlone(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	bystander := s.peer(t, namespace, "bystander", wholeReport("lobby", "R", "S"))
	for want, messages := range badMessages(namespace) {
		t.Run(want, func(t *testing.T) {
			err := s.open(t, messages...).end()
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), want) {
				t.Errorf("got %v, want INVALID_ARGUMENT with %q", err, want)
			}
		})
	}
	o := create(t, namespace, "pause", "lobby")
	until(t, "the bystander hears of a pause", func() bool { return bystander.holds("lobby", string(o.UID)) })
}

// FuzzMessages: whatever a media server sends is taken or refused with
// INVALID_ARGUMENT, and what is taken can be judged.
func FuzzMessages(f *testing.F) {
	for _, messages := range badMessages("tenant") {
		for _, m := range messages {
			seed, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(seed, seed)
		}
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		tenant := knowledgeOf(t, nil).Tenant("tenant")
		session, err := tenant.Connect(knowledge.Introduction{Name: "ms", Incarnation: "first"}, time.Unix(1_000_000, 0))
		if err != nil {
			t.Fatal(err)
		}
		s, st := &Server{metrics: newMetrics(nil), config: Config{Log: slog.New(slog.DiscardHandler)}},
			&stream{session: session}
		for _, data := range [][]byte{first, second} {
			var m forwardingv1.SubscribeRequest
			if proto.Unmarshal(data, &m) != nil {
				continue
			}
			if err := statusOf(s.handle(st, &m)); err != nil && status.Code(err) != codes.InvalidArgument {
				t.Fatalf("refused with %v", err)
			}
			for range 10 {
				if _, more := session.Next(); !more {
					break
				}
			}
			if id := m.GetReport().GetChannelId(); id != "" {
				tenant.Connections(id, []string{"R"}, nil)
			}
		}
		session.Close(time.Unix(1_000_001, 0))
	})
}
