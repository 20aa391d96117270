package e2e

import (
	"testing"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// TestPauseOfALayer proves that a receiver of a simulcast sender has the layer that it
// asks for, that a pause stops that layer like any stream, and that it goes on with it.
func TestPauseOfALayer(t *testing.T) {
	for rid, width := range map[string]int{"r0": 160, "r1": 320, "r2": 640} {
		t.Run(rid, func(t *testing.T) {
			t.Parallel()
			wants := func(rid string) func(*bot.Config) {
				return func(c *bot.Config) { c.Simulcast, c.RID = true, rid }
			}
			channel := channelOf(t)
			m := &meeting{
				system: running, channel: channel,
				bob:   join(t, channel, "bob", bot.SendOnly, wants("")),
				alice: join(t, channel, "alice", bot.RecvOnly, wants(rid)),
				carol: join(t, channel, "carol", bot.RecvOnly, wants("r2")),
			}
			awaitWidth(t, edge{m.alice, m.bob}, width)
			awaitWidth(t, edge{m.carol, m.bob}, 640)

			w := m.watchEdge(t, edge{m.alice, m.bob}, edge{m.carol, m.bob}, bot.Video)
			pause := createPause(t, channel, clientSpec(channel, "alice", "bob"))
			awaitReady(t, pause, v1alpha1.ReasonEnforced)
			w.provePaused(t)
			deletePause(t, pause)
			w.proveResumed(t)
			awaitWidth(t, edge{m.alice, m.bob}, width)
		})
	}
}

// TestReceiverOfNoLayer proves that who asks for none hears a simulcast sender and gets no
// packet of its video.
func TestReceiverOfNoLayer(t *testing.T) {
	channel := channelOf(t)
	bob := join(t, channel, "bob", bot.SendOnly, func(c *bot.Config) { c.Simulcast = true })
	alice := join(t, channel, "alice", bot.RecvOnly, func(c *bot.Config) { c.RID = "none" })
	carol := join(t, channel, "carol", bot.RecvOnly)
	awaitWidth(t, edge{carol, bob}, 640)
	proveNoVideo(t, edge{alice, bob}, edge{carol, bob})
}

// awaitWidth waits until the edge's last keyframe has a width.
func awaitWidth(t *testing.T, e edge, want int) {
	t.Helper()
	await(t, "the layer", func() (int, bool) {
		video, _ := e.receiver.Stream(e.sender.ConnectionID(), bot.Video)

		return video.Width, video.Width == want
	})
}
