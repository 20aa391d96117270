package serve

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/identity"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// mostPauses is how many pauses are named where there are too many edges.
const mostPauses = 10

// List implements forwardingv1.ViewServer: the media servers that host the channel
// are asked once they have every pause up to the version.
func (s *Server) List(
	request *forwardingv1.ListRequest, g grpc.ServerStreamingServer[forwardingv1.ListResponse],
) error {
	if err := s.admit(g.Context(), identity.List, request.GetNamespace()); err != nil {
		return err
	}
	if err := checkListRequest(request); err != nil {
		return err
	}
	t, err := s.tenantOf(request.GetNamespace())
	if err != nil {
		return err
	}
	if err := s.confirm(g.Context(), t, request.GetVersion()); err != nil {
		return err
	}
	limit := min(request.GetLimit(), maxEdges)
	answer, err := s.askAll(g.Context(), t, request.GetChannelId(), func(q *question) {
		q.atLeast = true
		q.message.Asks = &forwardingv1.Question_Withheld{Withheld: &forwardingv1.WithheldEdges{
			Kind: request.GetKind(), Limit: limit, ByReceiver: request.GetByReceiver(),
		}}
	})
	if err != nil {
		return err
	}
	var names []string
	if answer.GetCount() > uint64(limit) {
		answer.Edges = answer.GetEdges()[:min(len(answer.GetEdges()), int(limit))]
		answer.Receivers = atMost(answer.GetReceivers(), int(limit)-len(answer.GetEdges()))
		names = t.Names(mostOf(answer.GetPauses()))
	}
	send := func(edges []*forwardingv1.Edge, receivers []*forwardingv1.ReceiverEdges) error {
		// The status is the peer's.
		return g.Send(&forwardingv1.ListResponse{
			Edges: edges, Receivers: receivers, Count: answer.GetCount(), PauseNames: names,
		})
	}
	if len(answer.GetReceivers()) > 0 {
		err := inParts(answer.GetReceivers(), func(part []*forwardingv1.ReceiverEdges) error { return send(nil, part) })
		if err != nil || len(answer.GetEdges()) == 0 {
			return err
		}
	}
	nameAll(t, answer.GetEdges())

	return inParts(answer.GetEdges(), func(part []*forwardingv1.Edge) error { return send(part, nil) })
}

// atMost keeps as many of the edges.
func atMost(receivers []*forwardingv1.ReceiverEdges, limit int) []*forwardingv1.ReceiverEdges {
	for i, receiver := range receivers {
		senders := receiver.GetSendConnectionIds()
		if limit <= 0 {
			return receivers[:i]
		}
		if len(senders) > limit {
			receiver.SendConnectionIds = senders[:limit]

			return receivers[:i+1]
		}
		limit -= len(senders)
	}

	return receivers
}

// Explain implements forwardingv1.ViewServer.
func (s *Server) Explain(
	request *forwardingv1.ExplainRequest, g grpc.ServerStreamingServer[forwardingv1.ExplainResponse],
) error {
	if err := s.admit(g.Context(), identity.List, request.GetNamespace()); err != nil {
		return err
	}
	if err := checkExplainRequest(request); err != nil {
		return err
	}
	t, err := s.tenantOf(request.GetNamespace())
	if err != nil {
		return err
	}
	if err := s.confirm(g.Context(), t, request.GetVersion()); err != nil {
		return err
	}
	if pause := request.GetPause(); pause != nil && t.Channel(pause.GetUid()) != request.GetChannelId() {
		return status.Errorf(codes.NotFound,
			"no pause of channel %q has the uid %q: name one that is there", request.GetChannelId(), pause.GetUid())
	}
	answer, err := s.askAll(g.Context(), t, request.GetChannelId(), func(q *question) {
		q.atLeast = true
		if pause := request.GetPause(); pause != nil {
			q.message.Asks = &forwardingv1.Question_Pause{
				Pause: &forwardingv1.PauseEdges{Uid: pause.GetUid(), Limit: min(pause.GetLimit(), maxEdges)},
			}
		} else {
			q.message.Asks = &forwardingv1.Question_Edge{Edge: request.GetEdge()}
		}
	})
	if err != nil {
		return err
	}
	nameAll(t, answer.GetEdges())

	return inParts(answer.GetEdges(), func(edges []*forwardingv1.Edge) error {
		return g.Send(&forwardingv1.ExplainResponse{Edges: edges, Count: answer.GetCount()}) // The status is the peer's.
	})
}

// Disconnect implements forwardingv1.ControlServer. Where a media server is out of
// touch, the others have done it.
func (s *Server) Disconnect(
	ctx context.Context, request *forwardingv1.DisconnectRequest,
) (*forwardingv1.DisconnectResponse, error) {
	if err := s.admit(ctx, identity.Disconnect, request.GetNamespace()); err != nil {
		return nil, err
	}
	if err := checkDisconnectRequest(request); err != nil {
		return nil, err
	}
	t, err := s.tenantOf(request.GetNamespace())
	if err != nil {
		return nil, err
	}
	answer, err := s.askAll(ctx, t, request.GetChannelId(), func(q *question) {
		q.message.Asks = &forwardingv1.Question_Dismiss{Dismiss: request.GetDismissal()}
	})
	if err != nil {
		return nil, err
	}

	return &forwardingv1.DisconnectResponse{Connections: answer.GetCount()}, nil
}

// askAll asks every media server that hosts the channel and puts the answers
// together. It fails with UNAVAILABLE when one that hosts it, or may, is out of
// touch, after the others have answered.
func (s *Server) askAll(
	ctx context.Context, t *knowledge.Tenant, channelID string, about func(*question),
) (*forwardingv1.Answer, error) {
	sessions, outOfTouch := t.Hosts(channelID)
	answers := make([]*forwardingv1.Answer, len(sessions))
	group, ctx := errgroup.WithContext(ctx)
	for i, session := range sessions {
		q := &question{message: &forwardingv1.Question{ChannelId: channelID}}
		about(q)
		group.Go(func() (err error) {
			answers[i], err = s.ask(ctx, session, q)

			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err // It has its status.
	}
	switch listened := t.Listened(); {
	case len(outOfTouch) > 0:
		return nil, unavailable("media servers that host channel %q, or may, are out of touch: %s", channelID,
			strings.Join(outOfTouch[:min(len(outOfTouch), mostPauses)], ", "))
	case len(sessions) == 0 && time.Since(listened) < knowledge.OfficeBeforeArmed:
		return nil, unavailable("this replica has listened for less than %s, and no media server has told it of channel "+
			"%q: ask again", knowledge.OfficeBeforeArmed, channelID)
	case len(sessions) == 0 && !t.ClaimsListed():
		return nil, unavailable("this replica does not know yet whether a media server owns channel %q, "+
			"since it has not listed the claims: ask again", channelID)
	}
	all := &forwardingv1.Answer{}
	for _, answer := range answers {
		all.Edges = append(all.Edges, answer.GetEdges()...)
		all.Receivers = append(all.Receivers, answer.GetReceivers()...)
		all.Pauses = append(all.Pauses, answer.GetPauses()...)
		all.Count += answer.GetCount()
	}

	return all, nil
}

// mostOf are the uids of the pauses that withhold most edges.
func mostOf(counts []*forwardingv1.PauseCount) []string {
	edges := map[string]uint64{}
	for _, c := range counts {
		edges[c.GetUid()] += c.GetEdges()
	}
	uids := make([]string, 0, len(edges))
	for uid := range edges {
		uids = append(uids, uid)
	}
	slices.SortFunc(uids, func(a, b string) int { return cmp.Or(-cmp.Compare(edges[a], edges[b]), strings.Compare(a, b)) })

	return uids[:min(len(uids), mostPauses)]
}

// mostOfPart is how large the entries of a part may be.
const mostOfPart = forwardingv1.MaxMessageBytes - mostPauses*overhead

// inParts sends the entries in messages that are not too large; in one without any
// when there are none.
func inParts[T proto.Message](entries []T, send func([]T) error) error {
	var part []T
	size := 0
	for _, entry := range entries {
		more := fieldSize(proto.Size(entry))
		if size+more > mostOfPart && len(part) > 0 {
			if err := send(part); err != nil {
				return err
			}
			part, size = nil, 0
		}
		part, size = append(part, entry), size+more
	}

	return send(part)
}

// nameAll fills in the names of the edges' pauses.
func nameAll(t *knowledge.Tenant, edges []*forwardingv1.Edge) {
	for _, edge := range edges {
		name(t, edge, mostOfPart)
	}
}

// name fills in the names of the edge's pauses; of the oldest, where all do not
// fit into a message. One that was deleted meanwhile has none.
func name(t *knowledge.Tenant, edge *forwardingv1.Edge, most int) {
	edge.PauseNames = nil
	if len(edge.GetPauseUids()) == 0 {
		return
	}
	size := proto.Size(edge)
	for _, name := range t.Names(edge.GetPauseUids()) {
		if size += fieldSize(len(name)); size > most {
			return
		}
		edge.PauseNames = append(edge.PauseNames, name)
	}
}
