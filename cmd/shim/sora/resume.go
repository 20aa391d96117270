package sora

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
)

// resume deletes every object that pauses exactly this edge's video, whoever
// made it, and answers once that is committed.
func (h *Handler) resume(ctx context.Context, arguments map[string]string) (any, error) {
	e := edgeOf(arguments)
	if err := checkIDs(e); err != nil {
		return nil, err
	}
	deleted, others, err := h.pauses.deleteExact(ctx, e)
	if err != nil {
		return nil, err
	}
	if deleted && len(others) == 0 {
		// Without a look at who is connected: cleaning up after a connection that
		// has left must be possible, and while no manager answers, too.
		return echo{e.channel, e.recv, e.send}, nil
	}

	channel, err := h.config.Replicas.ChannelWith(ctx, h.config.Namespace, e.channel, e.recv, e.send)
	switch {
	case errors.Is(err, live.ErrNoReplica):
		err = stillPausedUnseen(others, err)
	case err != nil:
		return nil, err
	default:
		err = stillPausedIn(channel, others, e, deleted)
	}
	if err != nil {
		return nil, err
	}
	return echo{e.channel, e.recv, e.send}, nil
}

// deleteExact deletes the objects that pause exactly the edge's video. others
// are those in force, by name, that may pause it besides: the ids of clients are
// not looked at yet.
func (p pauses) deleteExact(ctx context.Context, e edge) (deleted bool, others []*v1alpha1.RtpStreamPause, err error) {
	ctx, cancel := context.WithTimeout(ctx, kubernetesTimeout)
	defer cancel()
	found, err := p.ofChannel(ctx, e.channel)
	if err != nil {
		return false, nil, err
	}
	now := time.Now()
	for i := range found {
		pause := &found[i]
		exact := pausesExactly(pause, e)
		if exact {
			if err := p.delete(ctx, pause); err != nil {
				return deleted, nil, err
			}
			deleted = true
		}
		if !exact && inForce(pause, now) && pausesVideo(pause) && mayName(pause, e) {
			others = append(others, pause)
		}
	}
	slices.SortFunc(others, func(a, b *v1alpha1.RtpStreamPause) int { return cmp.Compare(a.Name, b.Name) })
	return deleted, others, nil
}

// mayName tells whether the connection ids that the object has, if any, are the
// edge's.
func mayName(pause *v1alpha1.RtpStreamPause, e edge) bool {
	spec := &pause.Spec
	return (spec.RecvConnectionID == nil || *spec.RecvConnectionID == e.recv) &&
		(spec.SendConnectionID == nil || *spec.SendConnectionID == e.send)
}

// stillPausedIn returns an error when the edge is not live though nothing was
// deleted, or when it is live and one of others pauses it.
func stillPausedIn(channel live.Channel, others []*v1alpha1.RtpStreamPause, e edge, deleted bool) error {
	if err := checkEdge(channel, e); err != nil {
		if deleted {
			return nil
		}
		return err
	}
	receiver, sender := channel.Connection(e.recv), channel.Connection(e.send)
	for _, pause := range others {
		if ruleOf(pause).Matches(receiver, sender) {
			return pausedBy(pause)
		}
	}
	return nil
}

// stillPausedUnseen decides while no manager tells who is connected.
func stillPausedUnseen(others []*v1alpha1.RtpStreamPause, cause error) error {
	for _, pause := range others {
		if pause.Spec.RecvClientID == nil && pause.Spec.SendClientID == nil {
			return pausedBy(pause)
		}
	}
	if len(others) > 0 {
		return explained(http.StatusServiceUnavailable, notConfirmed,
			fmt.Sprintf("the edge's own pauses are gone, but %s names clients, and whose connections these are is unknown: %v; repeat the request", others[0].Name, cause),
			"name", others[0].Name)
	}
	return nil
}

func pausedBy(pause *v1alpha1.RtpStreamPause) error {
	return explained(http.StatusBadRequest, stillPaused,
		"another RtpStreamPause in force names this stream; whoever owns it must delete it", "name", pause.Name)
}

// ruleOf is the object's ids in the form that knows how to match.
func ruleOf(pause *v1alpha1.RtpStreamPause) *forwardingv1.Pause {
	spec := &pause.Spec
	return &forwardingv1.Pause{
		RecvConnectionId: text(spec.RecvConnectionID),
		RecvClientId:     text(spec.RecvClientID),
		SendConnectionId: text(spec.SendConnectionID),
		SendClientId:     text(spec.SendClientID),
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
