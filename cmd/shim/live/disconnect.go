package live

import (
	"context"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// DisconnectConnection dismisses one connection from the channel, and returns when
// its media server has done so. One that is not there is no error.
func (r *Replicas) DisconnectConnection(ctx context.Context, channelID, connectionID string) error {
	if cannotExist(connectionID) {
		return nil
	}

	return r.disconnect(ctx, channelID, &forwardingv1.Dismissal{
		Whom: &forwardingv1.Dismissal_ConnectionId{ConnectionId: connectionID},
	})
}

// DisconnectClient dismisses all connections of a client from the channel.
func (r *Replicas) DisconnectClient(ctx context.Context, channelID, clientID string) error {
	if cannotExist(clientID) {
		return nil
	}

	return r.disconnect(ctx, channelID, &forwardingv1.Dismissal{
		Whom: &forwardingv1.Dismissal_ClientId{ClientId: clientID},
	})
}

// DisconnectChannel dismisses everybody from the channel.
func (r *Replicas) DisconnectChannel(ctx context.Context, channelID string) error {
	return r.disconnect(ctx, channelID, &forwardingv1.Dismissal{
		Whom: &forwardingv1.Dismissal_Everyone{Everyone: &forwardingv1.Everyone{}},
	})
}

// Managers ask for this verb, and for list, on behalf of whoever calls Control and View.
// +kubebuilder:rbac:groups=rtp.nagi.dev,resources=rtpstreampauses,verbs=disconnect;list

// disconnect goes through every replica: a media server may be in touch with one of
// them alone, and dismissing twice does what once does.
func (r *Replicas) disconnect(ctx context.Context, channelID string, dismissal *forwardingv1.Dismissal) error {
	if cannotExist(channelID) {
		return nil
	}
	request := &forwardingv1.DisconnectRequest{Namespace: r.namespace, ChannelId: channelID, Dismissal: dismissal}
	_, err := settle(ctx, r, channelID, func(ctx context.Context, one replica) (finding[uint64], error) {
		response, err := one.control.Disconnect(ctx, request)

		return finding[uint64]{answer: response.GetConnections(), positive: response.GetConnections() > 0}, err
	})

	return err
}
