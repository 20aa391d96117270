package e2e

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// TestReceiverJoinsPaused proves that a receiver that joins while a pause matches
// it never gets one packet of video, and gets audio from its beginning; and that
// the pause outlives the receiver's reconnect, because it names the client.
func TestReceiverJoinsPaused(t *testing.T) {
	channel := channelOf(t)
	bob, carol := join(t, channel, "bob", bot.SendRecv), join(t, channel, "carol", bot.SendRecv)
	reference := edge{carol, bob}
	reference.awaitFlow(t)
	spec := byClientID(nil)
	spec.ChannelID = channel
	pause := createPause(t, channel, spec)
	awaitReady(t, pause, v1alpha1.ReasonArmed)

	var alice *member
	for range 3 {
		if alice != nil {
			// Without a word, as when a network goes away, and back at once.
			alice.Drop()
		}
		alice = join(t, channel, "alice", bot.SendRecv)
		proveNoVideo(t, edge{alice, bob}, reference)
		edge{alice, carol}.awaitFlow(t)
	}
	awaitReady(t, pause, v1alpha1.ReasonEnforced)

	deletePause(t, pause)
	paused := edge{alice, bob}
	paused.awaitMore(t, bot.Video, enoughVideo)
	video := paused.arrivals(bot.Video)
	if !video[0].keyframeStart {
		t.Errorf("the first video packet ever, number %d, begins no keyframe", video[0].sequence)
	}
	proveContiguous(t, "video", video)
	proveContiguous(t, "audio", paused.arrivals(bot.Audio))
}

// proveNoVideo proves that a receiver that just joined gets audio but no video
// over the paused edge, though the video was negotiated and flows elsewhere.
func proveNoVideo(t *testing.T, paused, reference edge) {
	t.Helper()
	await(t, "the negotiation of the paused video", func() (bot.Stream, bool) {
		return paused.receiver.Stream(paused.sender.ConnectionID(), bot.Video)
	})
	paused.awaitMore(t, bot.Audio, enoughAudio)
	reference.awaitMore(t, bot.Video, enoughVideo)
	if video := paused.arrivals(bot.Video); len(video) != 0 {
		t.Errorf("%d video packets came to a receiver that joined paused; the first: %+v", len(video), video[0])
	}
	proveContiguous(t, "audio", paused.arrivals(bot.Audio))
}

// TestSenderJoinsPaused proves the same for a sender that joins later, and for a
// receiver that only receives.
func TestSenderJoinsPaused(t *testing.T) {
	channel := channelOf(t)
	createPause(t, channel, v1alpha1.RtpStreamPauseSpec{ChannelID: channel, RecvClientID: new("alice"), SendClientID: new("bob")})
	alice, carol := join(t, channel, "alice", bot.RecvOnly), join(t, channel, "carol", bot.RecvOnly)
	bob := join(t, channel, "bob", bot.SendOnly)
	proveNoVideo(t, edge{alice, bob}, edge{carol, bob})
}

// TestDeleteAfterDisconnect proves that an object is collected once a connection
// that it names has been gone long enough, and not while it is there.
func TestDeleteAfterDisconnect(t *testing.T) {
	m := newMeeting(t)
	w := watchEdge(t, m.paused(), edge{m.carol, m.bob}, bot.Video)
	spec := byConnectionID(m)
	spec.ChannelID = m.channel
	spec.DeleteAfterDisconnect = &metav1.Duration{Duration: time.Second}
	pause := createPause(t, m.channel, spec)
	// This takes longer than a second.
	w.provePaused(t, waitEnforced(t, pause.UID))
	awaitReady(t, pause, v1alpha1.ReasonEnforced)

	m.alice.leave(t)
	awaitGone(t, pause)
}

// TestArmed follows an object's status as the connection that it names by client
// comes and goes.
func TestArmed(t *testing.T) {
	m := newMeeting(t)
	spec := byClientID(m)
	spec.ChannelID = m.channel
	pause := createPause(t, m.channel, spec)
	awaitReady(t, pause, v1alpha1.ReasonEnforced)
	m.alice.leave(t)
	awaitReady(t, pause, v1alpha1.ReasonArmed)
	m.alice = join(t, m.channel, "alice", bot.RecvOnly)
	awaitReady(t, pause, v1alpha1.ReasonEnforced)
}
