package e2e

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	pause := createPause(t, channel, clientSpec(channel, "alice", "bob"))
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
	createPause(t, channel, clientSpec(channel, "alice", "bob"))
	alice, carol := join(t, channel, "alice", bot.RecvOnly), join(t, channel, "carol", bot.RecvOnly)
	bob := join(t, channel, "bob", bot.SendOnly)
	proveNoVideo(t, edge{alice, bob}, edge{carol, bob})
}

// TestDeleteAfterDisconnect proves that an object is collected once a connection
// that it names has been gone long enough, and not while it is there.
func TestDeleteAfterDisconnect(t *testing.T) {
	m := newMeeting(t)
	w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, bot.Video)
	spec := byConnectionID(m)
	spec.DeleteAfterDisconnectSeconds = new(int64(1))
	pause := createPause(t, m.channel, spec)
	// This takes longer than a second.
	waitEnforced(t, pause.UID)
	w.provePaused(t)
	awaitReady(t, pause, v1alpha1.ReasonEnforced)

	m.alice.leave(t)
	awaitGone(t, pause)
}

// TestArmed follows an object's status as the connection that it names by client
// comes and goes.
func TestArmed(t *testing.T) {
	m := newMeeting(t)
	pause := createPause(t, m.channel, byClientID(m))
	awaitReady(t, pause, v1alpha1.ReasonEnforced)
	m.alice.leave(t)
	awaitReady(t, pause, v1alpha1.ReasonArmed)
	m.alice = join(t, m.channel, "alice", bot.RecvOnly)
	awaitReady(t, pause, v1alpha1.ReasonEnforced)
}

// TestTTL proves that an object is deleted the time after its expiry that it asks
// for, and does not act meanwhile.
func TestTTL(t *testing.T) {
	m := newMeeting(t)
	w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, bot.Video)
	spec := byClientID(m)
	expiry := time.Now().Truncate(time.Second).Add(4 * time.Second)
	spec.ExpiresAt = new(metav1.NewTime(expiry))
	spec.TTLSecondsAfterExpired = new(int64(2))
	pause := createPause(t, m.channel, spec)
	waitEnforced(t, pause.UID)
	w.findCut(t)
	awaitGone(t, pause)
	if early := time.Until(expiry.Add(2 * time.Second)); early > 0 {
		t.Errorf("it was deleted %s too early", early)
	}
	w.proveResumed(t)
}

// TestDeleting proves that an object that somebody's finalizer keeps acts no
// longer, and says so.
func TestDeleting(t *testing.T) {
	m := newMeeting(t)
	w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, bot.Video)
	pause := newPause(m.channel, byClientID(m))
	pause.Finalizers = []string{"example.com/somebody"}
	if err := running.api.Create(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		release := []byte(`{"metadata":{"finalizers":null}}`)
		if err := running.api.Patch(context.WithoutCancel(t.Context()), pause,
			client.RawPatch(types.MergePatchType, release)); err != nil {
			t.Error(err)
		}
	})
	waitEnforced(t, pause.UID)
	w.provePaused(t)
	deletePause(t, pause)
	w.proveResumed(t)
	told := running.awaitStatus(t, pause, metav1.ConditionFalse, v1alpha1.ReasonDeleting)
	if enforced := condition(told, v1alpha1.ConditionEnforced); enforced.Status != metav1.ConditionFalse ||
		enforced.Reason != v1alpha1.ReasonNotInForce {
		t.Errorf("it is said to be enforced: %+v", enforced)
	}
}
