package sora

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
)

const (
	// maxExplained bounds the edges of two clients that one Resume looks at: their
	// ids need not be unique.
	maxExplained = 100
	// explainedAtOnce bounds how many of them are asked about at the same time.
	explainedAtOnce = 8
)

// resume deletes the pause that the shim made for the edge, and answers once the
// stream flows again. What else pauses it stays, and is told.
func (h *Handler) resume(ctx context.Context, arguments arguments) (any, error) {
	e := edgeOf(arguments)
	if err := e.check(); err != nil {
		return nil, err
	}
	deleted, err := h.pauses.deleteMade(ctx, e)
	if err != nil {
		return nil, err
	}
	so := "the pause is deleted"
	if !deleted {
		so = "there was nothing to delete"
		// Connections that have left are an error here only: cleaning up after them
		// must be possible.
		if err := h.checkConnections(ctx, e, so); err != nil {
			return nil, err
		}
	}
	version, err := h.pauses.version(ctx)
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, h.config.PauseTimeout)
	defer cancel()
	names, err := h.stillPaused(waiting, e, version, so)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		return nil, explained(http.StatusBadRequest, stillPaused,
			"other RtpStreamPauses in force withhold this stream; whoever owns them must edit or delete them", "names", names)
	}

	return e.echo(), nil
}

// stillPaused returns the names of the pauses that withhold video on the edge, at
// the version of the collection at least. so is what was done before.
func (h *Handler) stillPaused(ctx context.Context, e edge, version uint64, so string) ([]string, error) {
	pairs := [][2]string{{e.recv.id, e.send.id}}
	if len(e.clientIDs()) > 0 {
		channel, err := h.config.Replicas.Find(ctx, e.channel, e.connectionIDs(), e.clientIDs())
		if err != nil {
			return nil, h.unanswered(so, err)
		}
		if channel.OutOfTouch() {
			return nil, h.unanswered(so, live.ErrNotCurrent)
		}
		if pairs = pairsOf(channel, e); len(pairs) > maxExplained {
			return nil, explained(http.StatusBadRequest, tooMany,
				fmt.Sprintf("%s, but the clients have %d connections to each other, and Resume looks at no more than %d: "+
					"Sora_20200401.ListPauseRtpStreams tells which are paused", so, len(pairs), maxExplained))
		}
	}

	var mu sync.Mutex
	var names []string
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(explainedAtOnce)
	for _, pair := range pairs {
		group.Go(func() error {
			edge, err := h.config.Replicas.Explain(ctx, e.channel, pair[0], pair[1], version)
			if err != nil {
				return h.unanswered(so, err)
			}
			withheldBy := h.withholding(ctx, edge)
			mu.Lock()
			defer mu.Unlock()
			names = append(names, withheldBy...)

			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.Sort(names)

	return slices.Compact(names), nil
}

// pairsOf are the ids of the connections of the edge's live edges.
func pairsOf(channel *live.Channel, e edge) [][2]string {
	named := func(end end) (connections []*forwardingv1.Connection) {
		for _, c := range channel.Connections() {
			if end.client && c.GetClientId() == end.id || !end.client && c.GetConnectionId() == end.id {
				connections = append(connections, c)
			}
		}

		return connections
	}
	var pairs [][2]string
	for _, receiver := range named(e.recv) {
		for _, sender := range named(e.send) {
			if forwardingv1.LiveEdge(receiver, sender) {
				pairs = append(pairs, [2]string{receiver.GetConnectionId(), sender.GetConnectionId()})
			}
		}
	}

	return pairs
}

// withholding returns the names of the pauses that withhold the edge's video, none
// when they do not. A pause of audio alone may be named beside them by the
// managers, so the objects decide where audio is withheld as well. Some are named
// whenever it is withheld: it is not said to flow.
func (h *Handler) withholding(ctx context.Context, edge *forwardingv1.Edge) []string {
	video, audio := paused(edge, forwardingv1.Kind_KIND_VIDEO), paused(edge, forwardingv1.Kind_KIND_AUDIO)
	names := edge.GetPauseNames()
	if len(names) == 0 {
		names = edge.GetPauseUids()
	}
	if !video {
		return nil
	}
	if audio {
		// None of them: others withhold it, or an edit has just ended that.
		if ofVideo := h.pauses.ofVideo(ctx, names); len(ofVideo) > 0 {
			return ofVideo
		}
	}

	return names
}

// paused tells whether a pause withholds the kind on the edge.
func paused(edge *forwardingv1.Edge, kind forwardingv1.Kind) bool {
	return slices.ContainsFunc(edge.GetStreams(), func(stream *forwardingv1.Stream) bool {
		return stream.GetKind() == kind && slices.Contains(stream.GetWithheld(), forwardingv1.Withheld_WITHHELD_PAUSED)
	})
}
