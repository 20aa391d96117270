package serve

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

func reportOf(connections ...*forwardingv1.Connection) *forwardingv1.SubscribeRequest {
	return &forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Report{Report: &forwardingv1.ChannelReport{ChannelId: "lobby", Connections: connections}}}
}

func acknowledgementOf(pauses ...*forwardingv1.PauseAcknowledgement) *forwardingv1.SubscribeRequest {
	return &forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Acknowledgement{Acknowledgement: &forwardingv1.Acknowledgement{ChannelId: "lobby", Pauses: pauses}}}
}

func acknowledgedEdge(receiver, sender string, streams ...*forwardingv1.StreamAcknowledgement) *forwardingv1.SubscribeRequest {
	return acknowledgementOf(&forwardingv1.PauseAcknowledgement{Uid: "u", Generation: 1, Edges: []*forwardingv1.EdgeAcknowledgement{{RecvConnectionId: receiver, SendConnectionId: sender, Streams: streams}}})
}

func helloOf(namespace, name string) *forwardingv1.SubscribeRequest {
	return &forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Hello{Hello: &forwardingv1.Hello{Namespace: namespace, MediaServer: name}}}
}

var completion = &forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Complete{Complete: &forwardingv1.ReportComplete{}}}

// badMessages are what a stream ends at with INVALID_ARGUMENT, and a word of the
// text that tells why.
func badMessages() map[string][]*forwardingv1.SubscribeRequest {
	long := strings.Repeat("x", maxIDBytes+1)
	fine := func() *forwardingv1.Connection {
		return &forwardingv1.Connection{ConnectionId: "R", Role: forwardingv1.Role_ROLE_RECVONLY}
	}
	with := func(change func(*forwardingv1.Connection)) *forwardingv1.SubscribeRequest {
		c := fine()
		change(c)

		return reportOf(c)
	}
	tooBig := uint32(0x10000)
	video := &forwardingv1.StreamAcknowledgement{Kind: forwardingv1.Kind_KIND_VIDEO}
	edge := &forwardingv1.EdgeAcknowledgement{RecvConnectionId: "R", SendConnectionId: "S"}
	after := func(m ...*forwardingv1.SubscribeRequest) []*forwardingv1.SubscribeRequest {
		return append([]*forwardingv1.SubscribeRequest{helloOf("tenant", "ms")}, m...)
	}

	return map[string][]*forwardingv1.SubscribeRequest{
		"not Hello":                {reportOf(fine())},
		"hello.namespace":          {helloOf("", "ms")},
		"hello.media_server is":    {helloOf("tenant", "")},
		"hello.media_server has":   {helloOf("tenant", long)},
		"not watched here":         {helloOf("elsewhere", "ms")},
		"Hello came twice":         after(helloOf("tenant", "ms")),
		"ReportComplete came":      after(completion, completion),
		"empty or of a kind":       after(&forwardingv1.SubscribeRequest{}),
		"report.channel_id":        after(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Report{Report: &forwardingv1.ChannelReport{}}}),
		"connection_id is empty":   after(with(func(c *forwardingv1.Connection) { c.ConnectionId = "" })),
		"client_id has":            after(with(func(c *forwardingv1.Connection) { c.ClientId = long })),
		"bundle_id has":            after(with(func(c *forwardingv1.Connection) { c.BundleId = long })),
		"session_id has":           after(with(func(c *forwardingv1.Connection) { c.SessionId = long })),
		"audio.codec_type has":     after(with(func(c *forwardingv1.Connection) { c.Audio = &forwardingv1.AudioCodec{CodecType: long} })),
		"video.codec_type has":     after(with(func(c *forwardingv1.Connection) { c.Video = &forwardingv1.VideoCodec{CodecType: long} })),
		"created_time":             after(with(func(c *forwardingv1.Connection) { c.CreatedTime = &timestamppb.Timestamp{Nanos: -1} })),
		"role 0":                   after(with(func(c *forwardingv1.Connection) { c.Role = forwardingv1.Role_ROLE_UNSPECIFIED })),
		"role 77":                  after(with(func(c *forwardingv1.Connection) { c.Role = 77 })),
		`connection_id "R" comes`:  after(reportOf(fine(), fine())),
		"acknowledgement.channel":  after(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Acknowledgement{Acknowledgement: &forwardingv1.Acknowledgement{}}}),
		"uid is empty":             after(acknowledgementOf(&forwardingv1.PauseAcknowledgement{Generation: 1})),
		`uid "u" comes twice`:      after(acknowledgementOf(&forwardingv1.PauseAcknowledgement{Uid: "u", Generation: 1}, &forwardingv1.PauseAcknowledgement{Uid: "u", Generation: 2})),
		"generation is 0":          after(acknowledgementOf(&forwardingv1.PauseAcknowledgement{Uid: "u"})),
		"recv_connection_id":       after(acknowledgedEdge("", "S")),
		"send_connection_id":       after(acknowledgedEdge("R", "")),
		"edges[1] comes twice":     after(acknowledgementOf(&forwardingv1.PauseAcknowledgement{Uid: "u", Generation: 1, Edges: []*forwardingv1.EdgeAcknowledgement{edge, edge}})),
		"kind 0":                   after(acknowledgedEdge("R", "S", &forwardingv1.StreamAcknowledgement{})),
		"KIND_VIDEO comes twice":   after(acknowledgedEdge("R", "S", video, video)),
		"last_sequence_number is ": after(acknowledgedEdge("R", "S", &forwardingv1.StreamAcknowledgement{Kind: forwardingv1.Kind_KIND_AUDIO, LastSequenceNumber: &tooBig})),
	}
}

func TestBadMessagesEndTheirStreamAlone(t *testing.T) {
	r := serveTenants(t, "tenant")
	bystander := r.open(t, helloOf("tenant", "bystander"), reportOf(&forwardingv1.Connection{ConnectionId: "B", Role: forwardingv1.Role_ROLE_SENDRECV}))
	for want, messages := range badMessages() {
		t.Run(want, func(t *testing.T) {
			err := r.open(t, messages...).end(t)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), want) {
				t.Errorf("got %v, want INVALID_ARGUMENT with %q", err, want)
			}
		})
	}
	bystander.send(t, completion)
	bystander.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetReplicaVersion() != nil })
}

// FuzzMessages: whatever a media server sends is taken or refused with
// INVALID_ARGUMENT, and what is taken can be judged.
func FuzzMessages(f *testing.F) {
	for _, messages := range badMessages() {
		for _, m := range messages {
			seed, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(seed)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m forwardingv1.SubscribeRequest
		if proto.Unmarshal(data, &m) != nil {
			return
		}
		p := newPresence(func(string) {}, nil)
		p.learned = learnedNever
		st := &stream{mediaServer: "ms"}
		p.connect(st, start)
		for _, err := range []error{checkReport(m.GetReport()), checkAcknowledgement(m.GetAcknowledgement())} {
			if err != nil && status.Code(err) != codes.InvalidArgument {
				t.Fatalf("refused with %v", err)
			}
		}
		if r := m.GetReport(); r != nil && checkReport(r) == nil {
			p.report(st, r, start)
			if got := p.of(r.GetChannelId(), ""); len(r.GetConnections()) > 0 && (len(got) != 1 || len(got[0].Connections) != len(r.GetConnections())) {
				t.Fatalf("reported %v, known %v", r, got)
			}
		}
		if a := m.GetAcknowledgement(); a != nil && checkAcknowledgement(a) == nil {
			p.acknowledge(st, a, start)
		}
	})
}
