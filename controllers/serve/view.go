package serve

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// Connections implements forwardingv1.ViewServer: the connections of a channel,
// oldest first. Those of a media server that is out of touch count for 30 s, so
// that a reconnecting stream makes nobody disappear.
func (s *Server) Connections(_ context.Context, request *forwardingv1.ConnectionsRequest) (*forwardingv1.ConnectionsResponse, error) {
	if err := checkID("channel_id", request.GetChannelId()); err != nil {
		return nil, err
	}
	t, err := s.tenantOf(request.GetNamespace())
	if err != nil {
		return nil, err
	}
	response := &forwardingv1.ConnectionsResponse{}
	for _, server := range t.presence.of(request.GetChannelId(), "") {
		if server.LostSince.IsZero() || time.Since(server.LostSince) < tables.KnownAfterLoss {
			response.Connections = append(response.Connections, server.Connections...)
		}
	}
	slices.SortFunc(response.Connections, func(a, b *forwardingv1.Connection) int {
		if byTime := a.GetCreatedTime().AsTime().Compare(b.GetCreatedTime().AsTime()); byTime != 0 {
			return byTime
		}

		return compare(a.GetConnectionId(), b.GetConnectionId())
	})

	return response, nil
}

// WaitEnforced implements forwardingv1.ViewServer. Beyond its deadline it ends
// early with NOT_FOUND when the pause is deleted while it waits, and with
// FAILED_PRECONDITION when it has expired: neither can come to act.
func (s *Server) WaitEnforced(ctx context.Context, request *forwardingv1.WaitEnforcedRequest) (*forwardingv1.WaitEnforcedResponse, error) {
	if err := checkID("uid", request.GetUid()); err != nil {
		return nil, err
	}
	t, err := s.tenantOf(request.GetNamespace())
	if err != nil {
		return nil, err
	}
	changed := make(chan struct{}, 1)
	defer t.bells.listen(uidBell(request.GetUid()), changed)()

	seen := false
	for {
		switch object := t.store.byUID(request.GetUid()); {
		case object == nil && seen, object != nil && object.DeletionTimestamp != nil:
			return nil, status.Error(codes.NotFound, "the pause was deleted: create it again")
		case object != nil:
			if !seen {
				defer t.bells.listen(channelBell(object.Spec.ChannelID), changed)()
			}
			seen = true
			if response, err := t.enforced(object); response != nil || err != nil {
				return response, err
			}
		}
		select {
		case <-changed:
		case <-s.ending:
			return nil, status.Error(codes.Unavailable, "this replica is ending: ask another")
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// enforced returns nil while the pause does not act yet.
func (t *tenant) enforced(object *v1alpha1.RtpStreamPause) (*forwardingv1.WaitEnforcedResponse, error) {
	now := time.Now()
	verdict := tables.Judge(tables.Pause(object), t.presence.of(object.Spec.ChannelID, string(object.UID)), now, now)
	switch verdict.Reason {
	case v1alpha1.ReasonExpired:
		return nil, status.Error(codes.FailedPrecondition, "the pause has expired: move its expiresAt, or delete it and create it again")
	case v1alpha1.ReasonEnforced:
	default:
		return nil, nil // Neither an answer nor a failure: wait on.
	}
	response := &forwardingv1.WaitEnforcedResponse{Generation: object.Generation}
	for _, hosted := range verdict.Enforced {
		by := &forwardingv1.EnforcedBy{MediaServer: hosted.MediaServer.Name, Edges: hosted.MediaServer.Acknowledgement.GetEdges()}
		if after := hosted.MediaServer.AcknowledgedAfter; after > 0 {
			by.Latency = durationpb.New(after)
		}
		response.MediaServers = append(response.MediaServers, by)
	}

	return response, nil
}
