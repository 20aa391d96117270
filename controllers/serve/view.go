package serve

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/identity"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// Connections implements forwardingv1.ViewServer: the connections of a channel,
// oldest first.
func (s *Server) Connections(
	request *forwardingv1.ConnectionsRequest, g grpc.ServerStreamingServer[forwardingv1.ConnectionsResponse],
) error {
	if err := s.admit(g.Context(), identity.List, request.GetNamespace()); err != nil {
		return err
	}
	if err := checkConnectionsRequest(request); err != nil {
		return err
	}
	t, err := s.tenantOf(request.GetNamespace())
	if err != nil {
		return err
	}
	presence, err := s.connections(g.Context(), t, request)
	if err != nil {
		return err
	}
	part, size := &forwardingv1.ConnectionsResponse{}, overhead
	stale := t.Stale()
	send := func() error {
		part.Occupied, part.OutOfTouch, part.Stale = presence.Occupied, presence.OutOfTouch, stale

		return g.Send(part) // The status is the peer's.
	}
	for _, placed := range presence.Connections {
		c := &forwardingv1.ChannelConnection{
			Connection: placed.Connection, MediaServer: placed.MediaServer, OutOfTouch: placed.OutOfTouch,
		}
		more := fieldSize(proto.Size(c))
		if size+more > forwardingv1.MaxMessageBytes {
			if err := send(); err != nil {
				return err
			}
			part, size = &forwardingv1.ConnectionsResponse{}, overhead
		}
		part.Connections, size = append(part.Connections, c), size+more
	}

	return send()
}

// connections looks up who is there, and waits for connection ids that are not.
func (s *Server) connections(
	ctx context.Context, t *knowledge.Tenant, request *forwardingv1.ConnectionsRequest,
) (knowledge.Presence, error) {
	changed := make(chan struct{}, 1)
	defer t.OnChannel(request.GetChannelId(), changed)()
	patience := time.NewTimer(request.GetWait().AsDuration())
	defer patience.Stop()
	for {
		presence := t.Connections(request.GetChannelId(), request.GetConnectionIds(), request.GetClientIds())
		if !presence.Missing || request.GetWait().AsDuration() <= 0 {
			return presence, nil
		}
		select {
		case <-changed:
		case <-patience.C:
			return t.Connections(request.GetChannelId(), request.GetConnectionIds(), request.GetClientIds()), nil
		case <-s.ending:
			return presence, s.endingError()
		case <-ctx.Done():
			return presence, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// WaitEnforced implements forwardingv1.ViewServer.
func (s *Server) WaitEnforced(
	ctx context.Context, request *forwardingv1.WaitEnforcedRequest,
) (*forwardingv1.WaitEnforcedResponse, error) {
	if err := s.admit(ctx, identity.List, request.GetNamespace()); err != nil {
		return nil, err
	}
	if err := checkWaitEnforcedRequest(request); err != nil {
		return nil, err
	}
	t, err := s.tenantOf(request.GetNamespace())
	if err != nil {
		return nil, err
	}
	changed := make(chan struct{}, 1)
	defer t.OnPause(request.GetUid(), changed)()
	listening := false
	for {
		object := t.PauseOf(request.GetUid())
		if object != nil && !listening {
			// Before anything is looked at: what changes after it rings.
			defer t.OnChannel(object.Spec.ChannelID, changed)()
			listening = true
		}
		switch {
		case object == nil && (listening || t.Deleted(request.GetUid())):
			return nil, statusOf(knowledge.ErrDeleted)
		case object != nil && (object.Generation >= request.GetGeneration() || object.Deletion != nil):
			enforcement, err := t.Enforced(object, request.GetEdge(), time.Now())
			if err != nil {
				return nil, statusOf(err)
			}
			if enforcement == nil {
				break
			}
			if err := s.checkMatch(ctx, t, object, request.GetEdge()); err != nil {
				return nil, err
			}

			return answerOf(enforcement), nil
		}
		select {
		case <-changed:
		case <-s.ending:
			return nil, s.endingError()
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// checkMatch asks the media servers whether the pause is among those that withhold
// the edge: that it matches some live edge does not say so, unless it is the only
// one that it names.
func (s *Server) checkMatch(
	ctx context.Context, t *knowledge.Tenant, object *held.Pause, edge *forwardingv1.EdgeName,
) error {
	exact := func(side held.Side, id string) bool {
		return len(side.ConnectionIDs) == 1 && side.ConnectionIDs[0] == id
	}
	if edge == nil ||
		exact(object.Spec.Receivers, edge.GetRecvConnectionId()) && exact(object.Spec.Senders, edge.GetSendConnectionId()) {
		return nil
	}
	answer, err := s.askAll(ctx, t, object.Spec.ChannelID, func(q *question) {
		q.atLeast = true
		q.message.Asks = &forwardingv1.Question_Edge{Edge: edge}
	})
	if err != nil {
		return err
	}
	for _, found := range answer.GetEdges() {
		if slices.Contains(found.GetPauseUids(), string(object.UID)) {
			return nil
		}
	}

	return status.Errorf(codes.FailedPrecondition, "the pause does not match the stream from %q to %q: "+
		"name its sides otherwise", edge.GetSendConnectionId(), edge.GetRecvConnectionId())
}

func answerOf(e *knowledge.Enforcement) *forwardingv1.WaitEnforcedResponse {
	response := &forwardingv1.WaitEnforcedResponse{MediaServers: e.MediaServers}
	if e.Latency > 0 {
		response.Latency = durationpb.New(e.Latency)
	}

	return response
}

// confirm has the pauses known up to the version, or fails with UNAVAILABLE.
func (s *Server) confirm(ctx context.Context, t *knowledge.Tenant, version uint64) error {
	if version == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.AnswerTimeout)
	defer cancel()
	if err := t.Confirm(ctx, version); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}

	return nil
}
