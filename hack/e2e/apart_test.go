package e2e

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// TestSplitIsMended opens a channel at two media servers that hear no manager and do not
// know of each other, and proves what is so until the API server can say whose it is: a
// receiver at the one and a sender at the other, between whom no stream can go, get an error
// of their own, at once, and no object. Then one of the two hands its part over.
func TestSplitIsMended(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 1, shims: 1})
	manager := s.managers[0]
	manager.mediaServers.hold()
	for i := range 2 {
		m := s.newMediaServer(i)
		s.mediaServers = append(s.mediaServers, m)
		if err := s.startMediaServer(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	channel := channelOf(t)
	members := []*member{
		s.mediaServers[0].join(t, channel, "alice", bot.SendRecv), s.mediaServers[1].join(t, channel, "bob", bot.SendRecv),
	}
	for _, m := range s.mediaServers {
		if opened := m.metric(t, "nagi_peers_opened_without_claim_total"); opened != 1 {
			t.Errorf("%s has opened %v channels without a claim", m.name, opened)
		}
	}
	manager.api.hold()
	manager.mediaServers.pass()
	await(t, "the manager to know both", func() (int, bool) {
		known := len(manager.connections(t, channel))

		return known, known == 2
	})
	begun := time.Now()
	s.shims[0].mustRefuse(t, pauseTarget, edgeBody(channel, members[0], members[1]), http.StatusBadRequest,
		"DIFFERENT-MEDIA-SERVERS")
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the error took %s", took)
	}
	manager.api.pass()
	if pauses := s.pausesOf(t, channel); len(pauses) != 0 {
		t.Errorf("%d objects were made", len(pauses))
	}
	loser := await(t, "one to be told", func() (int, bool) {
		for i, m := range members {
			if closed, ok := errors.AsType[*bot.ClosedError](m.Err()); ok && closed.Code == 1001 {
				return i, true
			}
		}

		return 0, false
	})
	members[loser] = s.mediaServers[loser].join(t, channel, members[loser].ClientID(), bot.SendRecv)
	edge{members[0], members[1]}.awaitFlow(t)
	if err := members[1-loser].Err(); err != nil {
		t.Errorf("the other one is gone too: %v", err)
	}
}
