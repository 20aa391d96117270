package sora

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
)

// pause makes the edge's pause and answers once it is enforced, so that a 200
// means what it means in Sora: no packet follows. Clients need not be there: it is
// enforced then before the first packet of whoever comes.
func (h *Handler) pause(ctx context.Context, arguments arguments) (any, error) {
	e := edgeOf(arguments)
	if err := e.check(); err != nil {
		return nil, err
	}
	if err := h.checkConnections(ctx, e, "nothing was paused"); err != nil {
		return nil, err
	}
	stored, err := h.pauses.ensure(ctx, e, arguments.caller)
	if err != nil {
		return nil, err
	}
	committed := time.Now()
	if err := h.waitEnforced(ctx, e, stored); err != nil {
		return nil, err
	}
	h.metrics.enforcement.Observe(time.Since(committed).Seconds())

	return e.echo(), nil
}

// waitEnforced returns once the stored pause acts, or says why that is not known.
func (h *Handler) waitEnforced(ctx context.Context, e edge, stored *v1alpha1.RtpStreamPause) error {
	version, err := strconv.ParseUint(stored.ResourceVersion, 10, 64)
	if err != nil {
		return fmt.Errorf("resource version of %s: %w", stored.Name, err)
	}
	pause := live.Pause{UID: string(stored.UID), Generation: stored.Generation, Version: version, ChannelID: e.channel}
	if len(e.clientIDs()) == 0 {
		pause.Recv, pause.Send = e.recv.id, e.send.id
	}
	waiting, cancel := context.WithTimeout(ctx, h.config.PauseTimeout)
	defer cancel()
	err = h.config.Replicas.WaitEnforced(waiting, pause)
	var refused *live.RefusedError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, live.ErrWithdrawn):
		err = fmt.Errorf("%w: %w", explained(http.StatusServiceUnavailable, notConfirmed,
			"the pause was deleted by somebody else before it was confirmed; repeat the request if it is still wanted", "name",
			stored.Name), err)
	case errors.As(err, &refused):
		err = fmt.Errorf("%w: %w", h.refused(ctx, e, stored, refused), err)
	case errors.Is(err, live.ErrNoReplica):
		err = h.unanswered("the pause is stored", err)
	default:
		// What the replicas said is for the operator's log, not for the client.
		err = fmt.Errorf("%w: %w", explained(http.StatusServiceUnavailable, notConfirmed,
			fmt.Sprintf("the pause is stored, but no media server confirmed it in %v; it acts as soon as one can, "+
				"and repeating the request is harmless", h.config.PauseTimeout),
			"name", stored.Name), err)
	}

	return fmt.Errorf("wait for %s: %w", stored.Name, err)
}

// refused says why a pause cannot come to act: where its connections are not what
// they were, that, else the managers' reason.
func (h *Handler) refused(
	ctx context.Context, e edge, stored *v1alpha1.RtpStreamPause, refused *live.RefusedError,
) error {
	if err := h.checkConnections(ctx, e, "the pause is stored"); err != nil {
		return err
	}

	return explained(http.StatusBadRequest, pauseRefused, "the pause is stored; "+refused.Reason, "name", stored.Name)
}

// checkConnections looks the connections up that the edge names by their ids, and
// refuses what no pause can act on. so is what the client is told of its request
// when nobody knows.
func (h *Handler) checkConnections(ctx context.Context, e edge, so string) error {
	ids := e.connectionIDs()
	if len(ids) == 0 {
		return nil
	}
	channel, err := h.config.Replicas.Find(ctx, e.channel, ids, nil)
	if err != nil {
		return h.unanswered(so, err)
	}

	return checkEdge(channel, e, so)
}

// checkEdge refuses an edge that does not live in the channel.
func checkEdge(channel *live.Channel, e edge, so string) error {
	var found []*forwardingv1.ChannelConnection
	for _, id := range e.connectionIDs() {
		connection := channel.Connection(id)
		switch {
		case connection != nil:
			found = append(found, connection)
		case channel.OutOfTouch():
			return explained(http.StatusServiceUnavailable, notConfirmed,
				"no such connection is known, but a media server, which may host it, is out of touch; "+so+", repeat the request",
				"connection_id", id)
		case channel.Empty():
			return unknownChannel(e.channel)
		default:
			return unknownConnection(id)
		}
	}
	if receiver := channel.Connection(e.recv.id).GetConnection(); !e.recv.client && !receiver.Receives() {
		return explained(http.StatusBadRequest, roleMismatch, "recv_connection_id names a connection that receives nothing",
			"connection_id", e.recv.id, "role", roleName(receiver.GetRole()))
	}
	if sender := channel.Connection(e.send.id).GetConnection(); !e.send.client && !sender.Sends() {
		return explained(http.StatusBadRequest, roleMismatch, "send_connection_id names a connection that sends nothing",
			"connection_id", e.send.id, "role", roleName(sender.GetRole()))
	}
	if len(found) < 2 {
		return nil
	}
	receiver, sender := found[0], found[1]
	if !forwardingv1.LiveEdge(receiver.GetConnection(), sender.GetConnection()) {
		return explained(http.StatusBadRequest, sameBundle,
			"both connections are of one bundle, and those do not receive each other",
			"bundle_id", receiver.GetConnection().GetBundleId())
	}
	if receiver.GetMediaServer() != sender.GetMediaServer() && !receiver.GetOutOfTouch() && !sender.GetOutOfTouch() {
		return explained(http.StatusBadRequest, differentMediaServers,
			"the two connections are in the channel on different media servers, between which no stream flows: "+
				"connect both to one")
	}

	return nil
}

func unknownChannel(id string) error {
	return explained(http.StatusBadRequest, channelNotFound, "nobody is connected to this channel",
		"channel_id", shortened(id))
}

func unknownConnection(id string) error {
	return explained(http.StatusBadRequest, connectionNotFound,
		"no such connection in this channel; Sora_20201013.ListChannelConnections tells which there are", "connection_id",
		shortened(id))
}

// roleName is the role in the spelling of Sora's protocol.
func roleName(role forwardingv1.Role) string {
	switch role {
	case forwardingv1.Role_ROLE_SENDRECV:
		return "sendrecv"
	case forwardingv1.Role_ROLE_SENDONLY:
		return "sendonly"
	case forwardingv1.Role_ROLE_RECVONLY:
		return "recvonly"
	default:
		return ""
	}
}
