package sora

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
)

// pausedStream is one entry of ListPauseRtpStreams.
type pausedStream struct {
	ChannelID        string `json:"channel_id"`
	RecvConnectionID string `json:"recv_connection_id"`
	Role             string `json:"role"`
	SendConnectionID string `json:"send_connection_id"`
}

// listPauses answers the live edges whose video an object in force pauses by
// both connection ids, once each, oldest first.
func (h *Handler) listPauses(ctx context.Context, arguments map[string]string) (any, error) {
	channelID := arguments["channel_id"]
	channel, unseen := h.config.Replicas.Channel(ctx, h.config.Namespace, channelID)
	streams := []pausedStream{}
	if unseen == nil && channel.Empty() {
		return streams, nil
	}
	limited, cancel := context.WithTimeout(ctx, kubernetesTimeout)
	defer cancel()
	found, err := h.pauses.ofChannel(limited, channelID)
	if err != nil {
		return nil, err
	}

	slices.SortFunc(found, byCreation)
	now := time.Now()
	listed := map[edge]bool{}
	for i := range found {
		pause := &found[i]
		e := edge{channelID, text(pause.Spec.RecvConnectionID), text(pause.Spec.SendConnectionID)}
		if e.recv == "" || e.send == "" || !pausesVideo(pause) || !inForce(pause, now) || listed[e] {
			continue
		}
		role, live := roleInChannel(channel, e)
		if unseen != nil {
			role, live = roleInStatus(pause)
		}
		if live {
			listed[e] = true
			streams = append(streams, pausedStream{channelID, e.recv, role, e.send})
		}
	}
	return streams, nil
}

func byCreation(a, b v1alpha1.RtpStreamPause) int {
	if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
		return order
	}
	if order := strings.Compare(text(a.Spec.RecvConnectionID), text(b.Spec.RecvConnectionID)); order != 0 {
		return order
	}
	return strings.Compare(text(a.Spec.SendConnectionID), text(b.Spec.SendConnectionID))
}

// roleInChannel is the role of the receiving connection. Sora does not say whose
// role the entry shows; an entry is about a receiver, so it is that one's.
func roleInChannel(channel live.Channel, e edge) (role string, live bool) {
	receiver, sender := channel.Connection(e.recv), channel.Connection(e.send)
	if receiver == nil || sender == nil {
		return "", false
	}
	return roleName(receiver.GetRole()), true
}

// roleInStatus stands in while no manager answers: what the controllers last
// wrote about the object.
func roleInStatus(pause *v1alpha1.RtpStreamPause) (role string, live bool) {
	return string(pause.Status.Role), pause.Status.Role != "" && pause.Status.DisconnectedAt == nil
}
