package serve

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// call is a Subscribe call in which the test says every word.
type call struct {
	forwardingv1.Forwarding_SubscribeClient
}

func (s *serving) open(t testing.TB, messages ...*forwardingv1.SubscribeRequest) *call {
	t.Helper()
	stream, err := forwardingv1.NewForwardingClient(s.connection).Subscribe(within(t, 2*patience))
	if err != nil {
		t.Fatal(err)
	}
	c := &call{stream}
	c.send(t, messages...)

	return c
}

// send: a stream that the server has ended meanwhile tells why when read.
func (c *call) send(t testing.TB, messages ...*forwardingv1.SubscribeRequest) {
	t.Helper()
	for _, m := range messages {
		if err := c.Send(m); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
}

func (c *call) end() error {
	for {
		if _, err := c.Recv(); err != nil {
			return err
		}
	}
}

func (c *call) await(t testing.TB, ok func(*forwardingv1.SubscribeResponse) bool) *forwardingv1.SubscribeResponse {
	t.Helper()
	for {
		m, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if size := proto.Size(m); size > forwardingv1.MaxMessageBytes {
			t.Fatalf("a message of %d bytes", size)
		}
		if ok(m) {
			return m
		}
	}
}

func helloOf(namespace, name string) *forwardingv1.SubscribeRequest {
	return &forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Hello{
		Hello: &forwardingv1.Hello{Namespace: namespace, MediaServer: name, Incarnation: "first"},
	}}
}

func said(r *forwardingv1.ChannelReport) *forwardingv1.SubscribeRequest {
	return &forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Report{Report: r}}
}

func acked(a *forwardingv1.Acknowledgement) *forwardingv1.SubscribeRequest {
	return &forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Acknowledgement{Acknowledgement: a}}
}

var completion = &forwardingv1.SubscribeRequest{
	Message: &forwardingv1.SubscribeRequest_Complete{Complete: &forwardingv1.ReportComplete{}},
}

func connection(id string) *forwardingv1.Connection {
	return &forwardingv1.Connection{
		ConnectionId: id,
		ClientId:     "client-" + id,
		Role:         forwardingv1.Role_ROLE_SENDRECV,
		CreatedTime:  timestamppb.New(time.Unix(1_000_000, 0)),
	}
}

func wholeReport(channelID string, ids ...string) *forwardingv1.ChannelReport {
	r := &forwardingv1.ChannelReport{ChannelId: channelID, Instance: 1, Epoch: 1}
	for _, id := range ids {
		r.Joined = append(r.Joined, connection(id))
	}

	return r
}

// peer is a media server that answers tables by itself: it holds what it is told,
// acknowledges it, and answers questions about it.
type peer struct {
	*call
	t      testing.TB
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu       sync.Mutex
	epochs   map[string]uint64
	pauses   map[string]map[string]*forwardingv1.Pause // by channel and uid
	versions map[string]uint64
	answers  func(*forwardingv1.Question) []*forwardingv1.Answer
	state    forwardingv1.State
	heldBack bool // acknowledges nothing
	// unclaimed are the channels that it was told are not its own.
	unclaimed []string
}

func (s *serving) peer(t testing.TB, namespace, name string, reports ...*forwardingv1.ChannelReport) *peer {
	t.Helper()

	return s.introduced(t, namespace, name, func(*forwardingv1.Hello) {}, reports...)
}

// introduced is a peer that says of itself what change adds.
func (s *serving) introduced(
	t testing.TB, namespace, name string, change func(*forwardingv1.Hello), reports ...*forwardingv1.ChannelReport,
) *peer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := forwardingv1.NewForwardingClient(s.connection).Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{
		call: &call{stream}, t: t, cancel: cancel, state: forwardingv1.State_STATE_MATCHING,
		epochs: map[string]uint64{}, pauses: map[string]map[string]*forwardingv1.Pause{}, versions: map[string]uint64{},
	}
	hello := helloOf(namespace, name)
	change(hello.GetHello())
	p.send(t, hello)
	for _, r := range reports {
		p.report(r)
	}
	p.send(t, completion)
	p.ended.Go(p.run)
	t.Cleanup(p.stop)

	return p
}

// stop ends the stream as a connection that is cut does.
func (p *peer) stop() {
	p.cancel()
	p.ended.Wait()
}

func (p *peer) say(m *forwardingv1.SubscribeRequest) {
	if err := p.Send(m); err != nil && !errors.Is(err, io.EOF) && p.Context().Err() == nil {
		p.t.Error(err)
	}
}

func (p *peer) report(r *forwardingv1.ChannelReport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epochs[r.GetChannelId()] = r.GetEpoch()
	p.say(said(r))
	if r.GetBaseEpoch() > 0 && !p.heldBack {
		p.acknowledge(r.GetChannelId())
	}
}

// run ends with the stream.
func (p *peer) run() {
	for {
		m, err := p.Recv()
		if err != nil {
			return
		}
		p.mu.Lock()
		switch m := m.GetMessage().(type) {
		case *forwardingv1.SubscribeResponse_Table:
			p.take(m.Table)
		case *forwardingv1.SubscribeResponse_Question:
			p.answer(m.Question)
		case *forwardingv1.SubscribeResponse_Unclaimed:
			p.unclaimed = append(p.unclaimed, m.Unclaimed.GetChannelId())
		case *forwardingv1.SubscribeResponse_ReplicaVersion:
			if !m.ReplicaVersion.GetClock() {
				break
			}
			p.say(&forwardingv1.SubscribeRequest{
				Message: &forwardingv1.SubscribeRequest_Clock{Clock: &forwardingv1.Clock{Time: timestamppb.Now()}},
			})
		}
		p.mu.Unlock()
	}
}

func (p *peer) take(table *forwardingv1.Table) {
	id := table.GetChannelId()
	if base := table.GetBaseVersion(); base != 0 && base != p.versions[id] && p.versions[id] != table.GetVersion() {
		p.t.Errorf("a difference to version %d; version %d is held", base, p.versions[id])
	}
	if table.GetBaseVersion() == 0 && p.versions[id] != table.GetVersion() || p.pauses[id] == nil {
		p.pauses[id] = map[string]*forwardingv1.Pause{}
	}
	for _, pause := range table.GetSet() {
		p.pauses[id][pause.GetUid()] = pause
	}
	for _, uid := range table.GetRemoved() {
		delete(p.pauses[id], uid)
	}
	p.versions[id] = table.GetVersion()
	if !table.GetMore() && !p.heldBack {
		p.acknowledge(id)
	}
}

// acknowledge says all of it. The caller holds the lock.
func (p *peer) acknowledge(channelID string) {
	a := &forwardingv1.Acknowledgement{
		ChannelId: channelID, Instance: 1, Epoch: p.epochs[channelID], Whole: true, Version: p.versions[channelID],
	}
	for uid, pause := range p.pauses[channelID] {
		a.Set = append(a.Set, &forwardingv1.PauseState{Uid: uid, Digest: pause.GetDigest(), State: p.state})
	}
	p.say(acked(a))
}

// hold has it acknowledge nothing, or all that it has not.
func (p *peer) hold(back bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heldBack = back; !back {
		for id := range p.versions {
			p.acknowledge(id)
		}
	}
}

func (p *peer) holds(channelID, uid string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.pauses[channelID][uid] != nil
}

// answer answers as told, or with the edge from S to R for every pause held.
func (p *peer) answer(q *forwardingv1.Question) {
	if q.GetVersion() > p.versions[q.GetChannelId()] {
		p.t.Errorf("asked about version %d before it was told; version %d is held", q.GetVersion(),
			p.versions[q.GetChannelId()])
	}
	parts := []*forwardingv1.Answer{{}}
	if p.answers != nil {
		parts = p.answers(q)
	} else if len(p.pauses[q.GetChannelId()]) > 0 {
		edge := &forwardingv1.Edge{RecvConnectionId: "R", SendConnectionId: "S", RecvRole: forwardingv1.Role_ROLE_SENDRECV}
		for uid := range p.pauses[q.GetChannelId()] {
			edge.PauseUids = append(edge.PauseUids, uid)
		}
		parts[0].Edges, parts[0].Count = []*forwardingv1.Edge{edge}, 1
	}
	for i, part := range parts {
		part.QuestionId, part.More = q.GetId(), i < len(parts)-1
		p.say(&forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Answer{Answer: part}})
	}
}
