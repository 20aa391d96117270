package sora

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
)

// echo is what PauseRtpStream and ResumeRtpStream answer: the request's keys.
type echo struct {
	ChannelID        string `json:"channel_id"`
	RecvConnectionID string `json:"recv_connection_id"`
	SendConnectionID string `json:"send_connection_id"`
}

// pause makes the edge's pause and answers once it is enforced, so that a 200
// means what it means in Sora: no packet follows.
func (h *Handler) pause(ctx context.Context, arguments map[string]string) (any, error) {
	e := edgeOf(arguments)
	if err := checkIDs(e); err != nil {
		return nil, err
	}
	channel, err := h.config.Replicas.ChannelWith(ctx, h.config.Namespace, e.channel, e.recv, e.send)
	if err != nil {
		return nil, explained(http.StatusServiceUnavailable, notConfirmed,
			fmt.Sprintf("%v; nothing was paused, repeat the request", err))
	}
	if err := checkEdge(channel, e); err != nil {
		return nil, err
	}

	uid, err := h.pauses.ensure(ctx, e)
	if err != nil {
		return nil, err
	}
	committed := time.Now()
	waiting, cancel := context.WithTimeout(ctx, h.config.PauseTimeout)
	defer cancel()
	err = h.config.Replicas.WaitEnforced(waiting, h.config.Namespace, string(uid))
	if errors.Is(err, live.ErrWithdrawn) {
		return nil, fmt.Errorf("%w: %w", explained(http.StatusServiceUnavailable, notConfirmed,
			"the pause was deleted by somebody else before it was confirmed; repeat the request if it is still wanted", "name", e.name()), err)
	}
	if err != nil {
		// What the replicas said is for the operator's log, not for the client.
		return nil, fmt.Errorf("wait for %s: %w", e.name(), errors.Join(explained(http.StatusServiceUnavailable, notConfirmed,
			fmt.Sprintf("the pause is stored, but no media server confirmed it in %v; it acts as soon as one can, and repeating the request is harmless", h.config.PauseTimeout),
			"name", e.name()), err))
	}
	h.metrics.enforcement.Observe(time.Since(committed).Seconds())
	return echo{e.channel, e.recv, e.send}, nil
}

// checkIDs refuses what no channel can make true.
func checkIDs(e edge) error {
	if e.recv == e.send {
		return explained(http.StatusBadRequest, sameConnection,
			"recv_connection_id and send_connection_id are equal, but no connection receives its own stream", "connection_id", e.recv)
	}
	return nil
}

// checkEdge refuses an edge that does not live in the channel.
func checkEdge(channel live.Channel, e edge) error {
	if channel.Empty() {
		return explained(http.StatusBadRequest, channelNotFound, "nobody is connected to this channel", "channel_id", e.channel)
	}
	receiver, sender := channel.Connection(e.recv), channel.Connection(e.send)
	switch {
	case receiver == nil:
		return unknownConnection(e.recv)
	case sender == nil:
		return unknownConnection(e.send)
	case !receiver.Receives():
		return explained(http.StatusBadRequest, roleMismatch, "recv_connection_id names a connection that receives nothing",
			"connection_id", e.recv, "role", roleName(receiver.GetRole()))
	case !sender.Sends():
		return explained(http.StatusBadRequest, roleMismatch, "send_connection_id names a connection that sends nothing",
			"connection_id", e.send, "role", roleName(sender.GetRole()))
	case !forwardingv1.LiveEdge(receiver, sender):
		return explained(http.StatusBadRequest, sameBundle, "both connections are of one bundle, and those do not receive each other",
			"bundle_id", receiver.GetBundleId())
	}
	return nil
}

func unknownConnection(id string) error {
	return explained(http.StatusBadRequest, connectionNotFound,
		"no such connection in this channel; Sora_20201013.ListChannelConnections tells which there are", "connection_id", id)
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
