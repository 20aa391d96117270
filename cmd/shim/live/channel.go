package live

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// grace is how long a connection may be unknown before it counts as not there: its
// media server's report and the caller's request may race. The replicas wait.
const grace = 250 * time.Millisecond

// nobodysID is asked for by who only wants to know whether a channel is occupied,
// so that no replica lists a channel for that. It is no connection's id: those have
// 26 characters.
const nobodysID = "-"

// Channel is who is connected to a channel, as far as was asked: what all replicas
// know together.
type Channel struct {
	connections map[string]*forwardingv1.ChannelConnection
	occupied    bool
	outOfTouch  bool
	stale       bool
}

// Empty tells whether nobody is in the channel, asked for or not.
func (c *Channel) Empty() bool { return !c.occupied }

// OutOfTouch tells whether a media server of the namespace is out of touch with a
// replica, so that connections may be missing here.
func (c *Channel) OutOfTouch() bool { return c.outOfTouch }

// Connection returns the connection with the id, nil when there is none.
func (c *Channel) Connection(id string) *forwardingv1.ChannelConnection { return c.connections[id] }

// Connections returns all, ordered by creation, then id.
func (c *Channel) Connections() []*forwardingv1.Connection {
	connections := make([]*forwardingv1.Connection, 0, len(c.connections))
	for connection := range maps.Values(c.connections) {
		connections = append(connections, connection.GetConnection())
	}
	slices.SortFunc(connections, func(a, b *forwardingv1.Connection) int {
		if order := a.GetCreatedTime().AsTime().Compare(b.GetCreatedTime().AsTime()); order != 0 {
			return order
		}

		return strings.Compare(a.GetConnectionId(), b.GetConnectionId())
	})

	return connections
}

// Channel asks who is in the channel.
func (r *Replicas) Channel(ctx context.Context, channelID string) (*Channel, error) {
	return r.find(ctx, &forwardingv1.ConnectionsRequest{Namespace: r.namespace, ChannelId: channelID})
}

// Find asks for some of a channel's connections: those with the ids, which are
// waited for 250 ms, and those of the clients.
func (r *Replicas) Find(ctx context.Context, channelID string, connectionIDs, clientIDs []string) (*Channel, error) {
	request := &forwardingv1.ConnectionsRequest{
		Namespace: r.namespace, ChannelId: channelID,
		ConnectionIds: slices.DeleteFunc(slices.Clone(connectionIDs), cannotExist),
		ClientIds:     slices.DeleteFunc(slices.Clone(clientIDs), cannotExist),
	}
	if len(request.GetConnectionIds()) > 0 {
		request.Wait = durationpb.New(grace)
	}
	if len(request.GetConnectionIds())+len(request.GetClientIds()) == 0 {
		request.ConnectionIds = []string{nobodysID}
	}

	return r.find(ctx, request)
}

// find asks every replica once, and once more while none is in reach. Where only
// connection ids are asked for, their being found is the end.
func (r *Replicas) find(ctx context.Context, request *forwardingv1.ConnectionsRequest) (*Channel, error) {
	channel := &Channel{connections: map[string]*forwardingv1.ChannelConnection{}}
	if cannotExist(request.GetChannelId()) {
		return channel, nil
	}
	replicas, err := r.all()
	if err != nil {
		return nil, err
	}
	byID := len(request.GetConnectionIds()) > 0 && len(request.GetClientIds()) == 0
	err = onceInReach(ctx, func(ctx context.Context) error {
		return ask(ctx, patience, replicas,
			func(ctx context.Context, one replica) (*Channel, error) { return believed(ctx, one, request) },
			func(w word[*Channel]) bool {
				channel.unite(w.answer)

				return byID && channel.holds(request.GetConnectionIds())
			})
	})
	if err != nil {
		return nil, err
	}

	return channel, nil
}

// connectionsOf asks one replica.
func connectionsOf(ctx context.Context, one replica, request *forwardingv1.ConnectionsRequest) (*Channel, error) {
	channel := &Channel{connections: map[string]*forwardingv1.ChannelConnection{}}
	stream, err := one.view.Connections(ctx, request)
	err = collect(stream, err, func(part *forwardingv1.ConnectionsResponse) {
		for _, connection := range part.GetConnections() {
			channel.connections[connection.GetConnection().GetConnectionId()] = connection
		}
		channel.occupied = channel.occupied || part.GetOccupied() || len(part.GetConnections()) > 0
		channel.outOfTouch = channel.outOfTouch || part.GetOutOfTouch()
		channel.stale = channel.stale || part.GetStale()
	})

	return channel, err
}

// believed asks one replica, and does not take its word that nobody is in the channel
// where it would not answer a question about the channel's streams: a replica that
// has just begun may not have been reached yet by the media server that hosts it.
func believed(ctx context.Context, one replica, request *forwardingv1.ConnectionsRequest) (*Channel, error) {
	channel, err := connectionsOf(ctx, one, request)
	if err != nil || channel.occupied || channel.outOfTouch {
		return channel, err
	}
	stream, err := one.view.Explain(ctx, &forwardingv1.ExplainRequest{
		Namespace: request.GetNamespace(), ChannelId: request.GetChannelId(),
		Of: &forwardingv1.ExplainRequest_Edge{
			Edge: &forwardingv1.EdgeName{RecvConnectionId: nobodysID, SendConnectionId: nobodysID},
		},
	})
	if err := collect(stream, err, func(*forwardingv1.ExplainResponse) {}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCurrent, err)
	}

	return channel, nil
}

// unite adds what another replica knows. Where both describe one connection, either
// description is true, but the one from a media server in touch is newer.
func (c *Channel) unite(other *Channel) {
	for id, connection := range other.connections {
		if c.connections[id] == nil || c.connections[id].GetOutOfTouch() {
			c.connections[id] = connection
		}
	}
	c.occupied = c.occupied || other.occupied
	c.outOfTouch = c.outOfTouch || other.outOfTouch
}

// holds tells whether all of the connections are there, on media servers in touch.
func (c *Channel) holds(connectionIDs []string) bool {
	for _, id := range connectionIDs {
		if c.connections[id] == nil || c.connections[id].GetOutOfTouch() {
			return false
		}
	}

	return true
}

// aboutNobody asks whether anybody is in the channel.
func (r *Replicas) aboutNobody(channelID string) *forwardingv1.ConnectionsRequest {
	return &forwardingv1.ConnectionsRequest{
		Namespace: r.namespace, ChannelId: channelID, ConnectionIds: []string{nobodysID},
	}
}

// presence asks one replica whether it knows anybody in the channel.
func (r *Replicas) presence(ctx context.Context, one replica, channelID string) (*Channel, error) {
	return connectionsOf(ctx, one, r.aboutNobody(channelID))
}

// nobodyIn tells whether no replica that answers knows anybody in the channel, nor
// misses a media server on which there may be somebody. That a replica knows nobody
// counts once before, which may be nil, has succeeded there.
func (r *Replicas) nobodyIn(
	ctx context.Context, replicas []replica, channelID string, before func(context.Context, replica) error,
) bool {
	nobody := true
	err := ask(ctx, longPatience, replicas,
		func(ctx context.Context, one replica) (*Channel, error) {
			if before != nil {
				// Whoever knows somebody counts in any case.
				if channel, err := r.presence(ctx, one, channelID); err != nil || channel.occupied || channel.outOfTouch {
					return channel, err
				}
				if err := before(ctx, one); err != nil {
					return nil, err
				}
			}

			return believed(ctx, one, r.aboutNobody(channelID))
		},
		func(w word[*Channel]) bool {
			nobody = nobody && !w.answer.occupied && !w.answer.outOfTouch

			return !nobody
		})

	return err == nil && nobody
}
