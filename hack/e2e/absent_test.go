package e2e

import (
	"testing"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// TestPauseOfAbsentClients proves that clients that are not there, in a channel that
// nobody is in, can be paused: whoever comes finds it in force.
func TestPauseOfAbsentClients(t *testing.T) {
	channel := channelOf(t)
	byClients := body(field{"channel_id", channel}, field{"recv_client_id", "alice"}, field{"send_client_id", "bob"})
	mustPost(t, pauseTarget, byClients)
	m := running.newMeeting(t, channel)
	proveNoVideo(t, m.paused(), edge{m.carol, m.bob})
	mustPost(t, resumeTarget, byClients)
	m.paused().awaitMore(t, bot.Video, enoughVideo)
}
