package sora

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// maxListed bounds the entries of ListPauseRtpStreams.
const maxListed = 100_000

// pausedStream is one entry of ListPauseRtpStreams.
type pausedStream struct {
	ChannelID        string `json:"channel_id"`
	RecvConnectionID string `json:"recv_connection_id"`
	// Role is the receiving connection's. Sora does not say whose role the entry
	// shows; an entry is about a receiver, so it is that one's.
	Role             string `json:"role"`
	SendConnectionID string `json:"send_connection_id"`
}

// listPauses answers every live edge of the channel whose video a pause in force
// withholds, whoever declared it, ordered by receiver, then sender.
func (h *Handler) listPauses(ctx context.Context, arguments arguments) (any, error) {
	channelID := arguments.text["channel_id"]
	streams := []pausedStream{}
	if !canBeID(channelID) {
		return streams, nil
	}
	// What was committed before this request counts, whichever shim wrote it.
	version, err := h.pauses.version(ctx)
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, h.config.PauseTimeout)
	defer cancel()
	paused, err := h.config.Replicas.List(waiting, channelID, version, maxListed)
	if err != nil {
		return nil, h.unanswered("what is paused is not known for sure", err)
	}
	if paused.Count > maxListed {
		return nil, explained(http.StatusBadRequest, tooMany,
			fmt.Sprintf("%d streams of this channel are paused, and no more than %d are listed; "+
				"names tells which RtpStreamPauses withhold most", paused.Count, maxListed),
			"names", paused.PauseNames)
	}
	for _, receiver := range paused.Receivers {
		for _, sender := range receiver.GetSendConnectionIds() {
			streams = append(streams, pausedStream{
				channelID, receiver.GetRecvConnectionId(), roleName(receiver.GetRecvRole()), sender,
			})
		}
	}
	slices.SortFunc(streams, func(a, b pausedStream) int {
		if order := strings.Compare(a.RecvConnectionID, b.RecvConnectionID); order != 0 {
			return order
		}

		return strings.Compare(a.SendConnectionID, b.SendConnectionID)
	})

	return streams, nil
}
