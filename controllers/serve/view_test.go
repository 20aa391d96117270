package serve

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// all receives every part of an answer.
func all[M any, P interface {
	*M
	proto.Message
}](t testing.TB, stream interface{ Recv() (*M, error) }, err error) ([]*M, error) {
	t.Helper()
	var parts []*M
	for err == nil {
		var part *M
		if part, err = stream.Recv(); err == nil {
			if size := proto.Size(P(part)); size > forwardingv1.MaxMessageBytes {
				t.Errorf("a part of %d bytes", size)
			}
			parts = append(parts, part)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}

	return parts, err
}

func (s *serving) connections(
	t testing.TB, request *forwardingv1.ConnectionsRequest,
) (*forwardingv1.ConnectionsResponse, []string, int) {
	t.Helper()
	stream, err := s.view.Connections(within(t, patience), request)
	parts, err := all(t, stream, err)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, part := range parts {
		for _, c := range part.GetConnections() {
			ids = append(ids, c.GetConnection().GetConnectionId())
		}
	}

	return parts[0], ids, len(parts)
}

func (s *serving) list(
	t testing.TB, request *forwardingv1.ListRequest,
) (edges []*forwardingv1.Edge, last *forwardingv1.ListResponse, err error) {
	t.Helper()
	request.Kind = forwardingv1.Kind_KIND_VIDEO
	stream, err := s.view.List(within(t, patience), request)
	parts, err := all(t, stream, err)
	for _, part := range parts {
		edges, last = append(edges, part.GetEdges()...), part
	}

	return edges, last, err
}

func TestConnectionsInPartsByIdAndOutOfTouch(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	many := wholeReport("hall")
	for i := range 20_000 {
		many.Joined = append(many.Joined, connection(fmt.Sprintf("connection-with-some-length-%05d", i)))
	}
	p := s.peer(t, namespace, "ms", parts(many)...)
	s.peer(t, namespace, "other", wholeReport("lobby", "B", "A"))
	until(t, "all are reported", func() bool {
		_, ids, _ := s.connections(t, &forwardingv1.ConnectionsRequest{Namespace: namespace, ChannelId: "hall"})

		return len(ids) == 20_000
	})
	_, ids, n := s.connections(t, &forwardingv1.ConnectionsRequest{Namespace: namespace, ChannelId: "hall"})
	if n < 2 || !slices.IsSorted(ids) {
		t.Errorf("%d parts, sorted %v", n, slices.IsSorted(ids))
	}
	got, ids, _ := s.connections(t, &forwardingv1.ConnectionsRequest{
		Namespace: namespace, ChannelId: "lobby", ConnectionIds: []string{"B", "nobody"}, ClientIds: []string{"client-A"},
	})
	if !slices.Equal(ids, []string{"A", "B"}) || !got.GetOccupied() || got.GetOutOfTouch() ||
		got.GetConnections()[0].GetMediaServer() != "other" {
		t.Errorf("looked up %v: %v", ids, got)
	}
	if got, ids, _ := s.connections(t, &forwardingv1.ConnectionsRequest{
		Namespace: namespace, ChannelId: "empty",
	}); got.GetOccupied() || len(ids) > 0 {
		t.Errorf("an empty channel: %v", got)
	}

	p.stop()
	until(t, "it is told to be out of touch", func() bool {
		got, ids, _ := s.connections(t, &forwardingv1.ConnectionsRequest{
			Namespace: namespace, ChannelId: "hall", ConnectionIds: []string{"connection-with-some-length-00007"},
		})

		return got.GetOutOfTouch() && len(ids) == 1 && got.GetConnections()[0].GetOutOfTouch() && got.GetOccupied()
	})
	if got, ids, _ := s.connections(t, &forwardingv1.ConnectionsRequest{
		Namespace: namespace, ChannelId: "lobby",
	}); !got.GetOutOfTouch() || len(ids) != 2 || got.GetConnections()[0].GetOutOfTouch() {
		t.Errorf("another channel: %v", got)
	}
}

// parts cuts a whole report.
func parts(r *forwardingv1.ChannelReport) []*forwardingv1.ChannelReport {
	var result []*forwardingv1.ChannelReport
	for some := range slices.Chunk(r.GetJoined(), 3000) {
		result = append(result, &forwardingv1.ChannelReport{
			ChannelId: r.GetChannelId(), Instance: r.GetInstance(), Epoch: r.GetEpoch(), Joined: some, More: true,
		})
	}
	result[len(result)-1].More = false

	return result
}

func TestConnectionsWaitForThoseWhoCome(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	p := s.peer(t, namespace, "ms", wholeReport("lobby", "R"))
	request := &forwardingv1.ConnectionsRequest{
		Namespace: namespace, ChannelId: "lobby", ConnectionIds: []string{"R", "S"},
	}
	until(t, "one is there", func() bool {
		_, ids, _ := s.connections(t, request)

		return len(ids) == 1
	})
	request.Wait = durationpb.New(30 * time.Millisecond)
	if _, ids, _ := s.connections(t, request); !slices.Equal(ids, []string{"R"}) {
		t.Errorf("waited for nobody and found %v", ids)
	}
	request.Wait = durationpb.New(patience)
	found := make(chan []string, 1)
	go func() {
		_, ids, _ := s.connections(t, request)
		found <- ids
	}()
	p.report(&forwardingv1.ChannelReport{
		ChannelId: "lobby", Instance: 1, Epoch: 2, BaseEpoch: 1, Joined: []*forwardingv1.Connection{connection("S")},
	})
	if ids := <-found; !slices.Equal(ids, []string{"R", "S"}) {
		t.Errorf("found %v", ids)
	}
}

func TestListIsAtLeastAtTheVersionAndNamesPauses(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	p := s.peer(t, namespace, "ms", wholeReport("lobby", "R", "S"))
	until(t, "it is there", func() bool {
		_, ids, _ := s.connections(t, &forwardingv1.ConnectionsRequest{Namespace: namespace, ChannelId: "lobby"})

		return len(ids) == 2
	})
	for i := range 20 {
		o := create(t, namespace, fmt.Sprint("pause-", i), "lobby")
		edges, last, err := s.list(t, &forwardingv1.ListRequest{
			Namespace: namespace, ChannelId: "lobby", Version: collection(t, namespace), Limit: 10,
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(edges) != 1 || last.GetCount() != 1 || !slices.Equal(edges[0].GetPauseNames(), []string{o.Name}) {
			t.Fatalf("listed %v", edges)
		}
		remove(t, o)
		edges, last, err = s.list(t, &forwardingv1.ListRequest{
			Namespace: namespace, ChannelId: "lobby", Version: collection(t, namespace), Limit: 10,
		})
		if err != nil || len(edges) != 0 || last.GetCount() != 0 {
			t.Fatalf("listed %v, %v after the deletion", edges, err)
		}
	}
	_, _, err := s.list(t, &forwardingv1.ListRequest{
		Namespace: namespace, ChannelId: "lobby", Version: collection(t, namespace) + 1_000_000, Limit: 10,
	})
	expectCode(t, err, codes.Unavailable, "version")

	p.stop()
	until(t, "the loss is noticed", func() bool { return s.knowledge.Streaming(namespace) == 0 })
	_, _, err = s.list(t, &forwardingv1.ListRequest{Namespace: namespace, ChannelId: "lobby", Limit: 10})
	expectCode(t, err, codes.Unavailable, "out of touch: ms")
	// It may have opened there.
	_, _, err = s.list(t, &forwardingv1.ListRequest{Namespace: namespace, ChannelId: "unknown", Limit: 10})
	expectCode(t, err, codes.Unavailable, "out of touch: ms")
}

// TestListByReceiver: as they are told, in parts that are not too large, whoever
// tells them one by one; and no more than was asked for.
func TestListByReceiver(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	o := create(t, namespace, "pause", "lobby")
	p := s.peer(t, namespace, "ms", wholeReport("lobby", "R", "S"))
	const receivers, senders = 20, 2_000
	p.mu.Lock()
	p.answers = func(q *forwardingv1.Question) []*forwardingv1.Answer {
		if !q.GetWithheld().GetByReceiver() {
			t.Errorf("asked %v", q)
		}
		answers := []*forwardingv1.Answer{{Edges: []*forwardingv1.Edge{
			{RecvConnectionId: "R", SendConnectionId: "S", RecvRole: forwardingv1.Role_ROLE_SENDRECV},
		}}}
		for i := range receivers {
			r := &forwardingv1.ReceiverEdges{RecvConnectionId: fmt.Sprint("R", i), RecvRole: forwardingv1.Role_ROLE_RECVONLY}
			for j := range senders {
				r.SendConnectionIds = append(r.SendConnectionIds, fmt.Sprintf("%0100d", j))
			}
			answers = append(answers, &forwardingv1.Answer{Receivers: []*forwardingv1.ReceiverEdges{r}})
		}

		return append(answers, &forwardingv1.Answer{Count: receivers*senders + 1})
	}
	p.mu.Unlock()
	until(t, "the channel is hosted", func() bool { return p.holds("lobby", string(o.UID)) })
	list := func(limit uint32) (edges int, parts []*forwardingv1.ListResponse) {
		stream, err := s.view.List(within(t, patience), &forwardingv1.ListRequest{
			Namespace: namespace, ChannelId: "lobby", Kind: forwardingv1.Kind_KIND_VIDEO, Limit: limit, ByReceiver: true,
		})
		parts, err = all(t, stream, err)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if proto.Size(part) > forwardingv1.MaxMessageBytes {
				t.Errorf("a part has %d bytes", proto.Size(part))
			}
			edges += len(part.GetEdges())
			for _, r := range part.GetReceivers() {
				edges += len(r.GetSendConnectionIds())
			}
		}

		return edges, parts
	}
	edges, parts := list(maxEdges)
	if edges != receivers*senders+1 || len(parts) < 4 || parts[0].GetCount() != receivers*senders+1 ||
		parts[0].GetReceivers()[0].GetRecvRole() != forwardingv1.Role_ROLE_RECVONLY {
		t.Errorf("%d edges in %d parts", edges, len(parts))
	}
	if edges, _ := list(3_000); edges != 3_000 {
		t.Errorf("%d edges beyond the limit", edges)
	}
}

func TestListOfTooManyNamesThePauses(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	few, most := create(t, namespace, "few", "lobby"), create(t, namespace, "most", "lobby")
	p := s.peer(t, namespace, "ms", wholeReport("lobby", "R", "S"))
	p.mu.Lock()
	p.answers = func(q *forwardingv1.Question) []*forwardingv1.Answer {
		if q.GetWithheld().GetKind() != forwardingv1.Kind_KIND_VIDEO {
			t.Errorf("asked %v", q)
		}
		var answers []*forwardingv1.Answer
		limit := int(q.GetWithheld().GetLimit())
		for at := 0; at < limit; at += 1000 {
			part := &forwardingv1.Answer{Count: 60_000}
			for i := at; i < min(limit, at+1000); i++ {
				part.Edges = append(part.Edges, &forwardingv1.Edge{
					RecvConnectionId: fmt.Sprint("R", i),
					SendConnectionId: "S",
					RecvRole:         forwardingv1.Role_ROLE_RECVONLY,
					PauseUids:        []string{string(most.UID), "gone"},
				})
			}
			answers = append(answers, part)
		}

		return append(answers, &forwardingv1.Answer{Count: 60_000, Pauses: []*forwardingv1.PauseCount{
			{Uid: string(few.UID), Edges: 7}, {Uid: string(most.UID), Edges: 59_993},
		}})
	}
	p.mu.Unlock()
	until(t, "the channel is hosted", func() bool { return p.holds("lobby", string(few.UID)) })
	edges, last, err := s.list(t, &forwardingv1.ListRequest{Namespace: namespace, ChannelId: "lobby", Limit: 50_000})
	if err != nil || len(edges) != 50_000 || last.GetCount() != 60_000 ||
		!slices.Equal(last.GetPauseNames(), []string{"most", "few"}) {
		t.Fatalf("%d edges of %d, names %v, %v", len(edges), last.GetCount(), last.GetPauseNames(), err)
	}
	if !slices.Equal(edges[0].GetPauseNames(), []string{"most"}) {
		t.Errorf("named %v", edges[0].GetPauseNames())
	}
	explain, err := s.view.Explain(within(t, patience), &forwardingv1.ExplainRequest{
		Namespace: namespace,
		ChannelId: "lobby",
		Of:        &forwardingv1.ExplainRequest_Pause{Pause: &forwardingv1.PauseEdges{Uid: "unknown"}},
	})
	_, err = all(t, explain, err)
	expectCode(t, err, codes.NotFound, "unknown")
}

func TestExplainAndDisconnectAskTheMediaServer(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	o := create(t, namespace, "pause", "lobby")
	p := s.peer(t, namespace, "ms", wholeReport("lobby", "R", "S"))
	until(t, "the table is there", func() bool { return p.holds("lobby", string(o.UID)) })
	for _, of := range []*forwardingv1.ExplainRequest{
		{Of: &forwardingv1.ExplainRequest_Edge{Edge: edgeSR}},
		{Of: &forwardingv1.ExplainRequest_Pause{Pause: &forwardingv1.PauseEdges{Uid: string(o.UID), Limit: 5}}},
	} {
		of.Namespace, of.ChannelId, of.Version = namespace, "lobby", collection(t, namespace)
		stream, err := s.view.Explain(within(t, patience), of)
		parts, err := all(t, stream, err)
		if err != nil || len(parts) != 1 || parts[0].GetCount() != 1 || parts[0].GetEdges()[0].GetPauseNames()[0] != "pause" {
			t.Errorf("explained %v: %v, %v", of, parts, err)
		}
	}
	p.mu.Lock()
	p.answers = func(q *forwardingv1.Question) []*forwardingv1.Answer {
		if q.GetDismiss().GetClientId() == "broken" {
			return []*forwardingv1.Answer{{Error: "no such luck"}}
		}

		return []*forwardingv1.Answer{{Count: 2}}
	}
	p.mu.Unlock()
	dismiss := func(channelID, client string) (*forwardingv1.DisconnectResponse, error) {
		return s.control.Disconnect(within(t, patience), &forwardingv1.DisconnectRequest{
			Namespace: namespace,
			ChannelId: channelID,
			Dismissal: &forwardingv1.Dismissal{Whom: &forwardingv1.Dismissal_ClientId{ClientId: client}},
		})
	}
	if response, err := dismiss("lobby", "client-R"); err != nil || response.GetConnections() != 2 {
		t.Errorf("dismissed %v, %v", response, err)
	}
	_, err := dismiss("lobby", "broken")
	expectCode(t, err, codes.Unavailable, "no such luck")
	until(t, "it has listened for long enough", func() bool {
		return time.Since(s.knowledge.Tenant(namespace).Listened()) > knowledge.OfficeBeforeArmed
	})
	if response, err := dismiss("empty", "client-R"); err != nil || response.GetConnections() != 0 {
		t.Errorf("dismissed %v, %v from an empty channel", response, err)
	}
}

func TestQuestionToOneThatGoesAwayFailsAtOnce(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	p := s.peer(t, namespace, "ms", wholeReport("lobby", "R", "S"))
	asked := make(chan struct{}, 1)
	p.mu.Lock()
	p.answers = func(*forwardingv1.Question) []*forwardingv1.Answer {
		asked <- struct{}{}

		return nil
	}
	p.mu.Unlock()
	until(t, "the channel is hosted", func() bool { return s.knowledge.Streaming(namespace) == 1 && hosted(s, namespace) })
	failed := make(chan error, 1)
	go func() {
		_, _, err := s.list(t, &forwardingv1.ListRequest{Namespace: namespace, ChannelId: "lobby", Limit: 1})
		failed <- err
	}()
	<-asked
	p.cancel()
	expectCode(t, <-failed, codes.Unavailable, "out of touch")
}

func hosted(s *serving, namespace string) bool {
	sessions, _ := s.knowledge.Tenant(namespace).Hosts("lobby")

	return len(sessions) == 1
}

// Who asks who is there is told, too, that pauses are not confirmed now.
func TestConnectionsTellThatTheReplicaIsStale(t *testing.T) {
	namespace := newNamespace(t)
	s := serveWith(t, knowledge.Config{Namespaces: []string{namespace}, StaleAfter: time.Second}, Config{})
	until(t, "the replica serves", func() bool { return s.Ready() == nil })
	says := func(stale bool) func() bool {
		return func() bool {
			stream, err := s.view.Connections(within(t, patience), &forwardingv1.ConnectionsRequest{
				Namespace: namespace, ChannelId: "lobby",
			})
			parts, err := all(t, stream, err)
			if err != nil || len(parts) != 1 {
				t.Fatalf("%v, %v", parts, err)
			}

			return parts[0].GetStale() == stale
		}
	}
	until(t, "it says that it is stale", says(true))
	create(t, namespace, "fresh", "lobby")
	until(t, "it says that it is not", says(false))
}
