package live

import (
	"context"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Paused is what List found.
type Paused struct {
	// Receivers have the edges, at most as many as was asked for.
	Receivers []*forwardingv1.ReceiverEdges
	// Count is how many there are.
	Count uint64
	// PauseNames names those that withhold most, where there are more edges than
	// was asked for.
	PauseNames []string
}

// List tells which live edges of the channel have their video withheld by a pause,
// from tables not older than the version of the collection. It waits for such as
// long as ctx allows.
func (r *Replicas) List(ctx context.Context, channelID string, version uint64, limit uint32) (Paused, error) {
	if cannotExist(channelID) {
		return Paused{}, nil
	}
	request := &forwardingv1.ListRequest{
		Namespace:  r.namespace,
		ChannelId:  channelID,
		Kind:       forwardingv1.Kind_KIND_VIDEO,
		Version:    version,
		Limit:      limit,
		ByReceiver: true,
	}

	return settle(ctx, r, channelID, func(ctx context.Context, one replica) (finding[Paused], error) {
		var paused Paused
		stream, err := one.view.List(ctx, request)
		err = collect(stream, err, func(part *forwardingv1.ListResponse) {
			paused.Receivers = append(paused.Receivers, part.GetReceivers()...)
			for _, e := range part.GetEdges() { // A version before this one tells them one by one.
				paused.Receivers = append(paused.Receivers, &forwardingv1.ReceiverEdges{
					RecvConnectionId:  e.GetRecvConnectionId(),
					RecvRole:          e.GetRecvRole(),
					SendConnectionIds: []string{e.GetSendConnectionId()},
				})
			}
			paused.Count = max(paused.Count, part.GetCount())
			paused.PauseNames = part.GetPauseNames() // the same in every part
		})

		return finding[Paused]{answer: paused, positive: paused.Count > 0 || len(paused.Receivers) > 0}, err
	})
}

// Explain tells what is so with one edge, nil when it is not live. Versions and
// waiting are as for List.
func (r *Replicas) Explain(
	ctx context.Context, channelID, recv, send string, version uint64,
) (*forwardingv1.Edge, error) {
	if cannotExist(channelID) || cannotExist(recv) || cannotExist(send) {
		return nil, nil
	}
	request := &forwardingv1.ExplainRequest{
		Namespace: r.namespace, ChannelId: channelID, Version: version,
		Of: &forwardingv1.ExplainRequest_Edge{Edge: &forwardingv1.EdgeName{RecvConnectionId: recv, SendConnectionId: send}},
	}

	return settle(ctx, r, channelID, func(ctx context.Context, one replica) (finding[*forwardingv1.Edge], error) {
		var edge *forwardingv1.Edge
		stream, err := one.view.Explain(ctx, request)
		err = collect(stream, err, func(part *forwardingv1.ExplainResponse) {
			for _, e := range part.GetEdges() {
				edge = e
			}
		})

		return finding[*forwardingv1.Edge]{answer: edge, positive: edge != nil}, err
	})
}
