//go:build linux

package main

import (
	"context"
	"time"
)

// janusSubscription is a handle that receives, and the m-line of its video.
type janusSubscription struct {
	session  *janusSession
	handle   uint64
	videoMID string
}

// janusWays is the one way there is: the receiver's own handle.
func janusWays(r *rig) []way {
	send := func(wanted bool) func(context.Context) (request, error) {
		return func(ctx context.Context) (request, error) {
			s := r.receiver.janus
			body := map[string]any{"request": "configure", "streams": []map[string]any{{"mid": s.videoMID, "send": wanted}}}
			q := request{sent: time.Now()}
			_, err := s.session.ask(ctx, map[string]any{"handle_id": s.handle}, body)
			q.answered = time.Now()

			return q, err
		}
	}

	return []way{{name: "configure", pause: send(false), resume: send(true)}}
}
