package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// meeting is a channel of three that receive each other: the tests pause what
// alice receives from bob.
type meeting struct {
	system            *system
	channel           string
	alice, bob, carol *member
}

// newMeeting opens a channel in the shared system.
func newMeeting(t *testing.T) *meeting {
	t.Helper()

	return running.newMeeting(t, channelOf(t))
}

// newMeeting opens a channel at the system's first media server.
func (s *system) newMeeting(t *testing.T, channel string) *meeting {
	t.Helper()
	at := s.mediaServers[0]

	return &meeting{
		system: s, channel: channel,
		alice: at.join(t, channel, "alice", bot.SendRecv),
		bob:   at.join(t, channel, "bob", bot.SendRecv),
		carol: at.join(t, channel, "carol", bot.SendRecv),
	}
}

// channelOf is a channel, and a name for objects, that no other test uses.
func channelOf(t *testing.T) string {
	t.Helper()

	return strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
}

func (m *meeting) paused() edge { return edge{m.alice, m.bob} }

// door is a way to pause an edge and to let it go on.
type door struct {
	name  string
	kinds []bot.Kind // Those paused; video if empty.
	// reference is an edge that the pause leaves alone; carol from bob if nil.
	reference func(*meeting) edge
	// close pauses and returns the object's uid; open lets go on.
	close func(*testing.T, *meeting) types.UID
	open  func(*testing.T, *meeting)
}

// object is a door that creates and deletes an object.
func object(name string, spec func(*meeting) v1alpha1.RtpStreamPauseSpec) door {
	return door{
		name: name,
		close: func(t *testing.T, m *meeting) types.UID {
			return createPause(t, m.channel, spec(m)).UID
		},
		open: func(t *testing.T, m *meeting) { deletePause(t, newPause(m.channel, v1alpha1.RtpStreamPauseSpec{})) },
	}
}

func byConnectionID(m *meeting) v1alpha1.RtpStreamPauseSpec {
	return v1alpha1.RtpStreamPauseSpec{
		ChannelID: m.channel, Receivers: connections(m.alice), Senders: connections(m.bob), Reason: "a test",
	}
}

func byClientID(m *meeting) v1alpha1.RtpStreamPauseSpec {
	return clientSpec(m.channel, "alice", "bob")
}

func doors() []door {
	// leaving adds the edge that the pause leaves alone.
	leaving := func(d door, reference func(*meeting) edge) door {
		d.reference = reference

		return d
	}
	fromCarol := func(m *meeting) edge { return edge{m.alice, m.carol} }
	fromBob := func(m *meeting) edge { return edge{m.carol, m.bob} }

	openReceivers := leaving(object("from the sender to everybody", func(m *meeting) v1alpha1.RtpStreamPauseSpec {
		return v1alpha1.RtpStreamPauseSpec{ChannelID: m.channel, Receivers: everyone(), Senders: connections(m.bob)}
	}), fromCarol)
	openSenders := object("from everybody to the receiver", func(m *meeting) v1alpha1.RtpStreamPauseSpec {
		return v1alpha1.RtpStreamPauseSpec{ChannelID: m.channel, Receivers: clients("alice"), Senders: everyone()}
	})
	exceptReceivers := leaving(object("from the sender to everybody but one",
		func(m *meeting) v1alpha1.RtpStreamPauseSpec {
			except := v1alpha1.EveryoneExcept{ClientIDs: []string{"carol"}}

			return v1alpha1.RtpStreamPauseSpec{
				ChannelID: m.channel, Receivers: v1alpha1.Side{EveryoneExcept: &except}, Senders: clients("bob", "dave"),
			}
		}), fromBob)
	exceptSenders := leaving(object("from everybody but one to the receiver",
		func(m *meeting) v1alpha1.RtpStreamPauseSpec {
			except := v1alpha1.EveryoneExcept{ConnectionIDs: []string{m.carol.ConnectionID()}, ClientIDs: []string{"dave"}}

			return v1alpha1.RtpStreamPauseSpec{
				ChannelID: m.channel, Receivers: clients("dave", "alice"), Senders: v1alpha1.Side{EveryoneExcept: &except},
			}
		}), fromCarol)
	audio := object("audio alone", func(m *meeting) v1alpha1.RtpStreamPauseSpec {
		spec := byConnectionID(m)
		spec.Kinds = []v1alpha1.Kind{v1alpha1.KindAudio}

		return spec
	})
	audio.kinds = []bot.Kind{bot.Audio}

	both := object("audio and video", func(m *meeting) v1alpha1.RtpStreamPauseSpec {
		spec := byClientID(m)
		spec.Kinds = []v1alpha1.Kind{v1alpha1.KindVideo, v1alpha1.KindAudio}

		return spec
	})
	both.kinds = []bot.Kind{bot.Audio, bot.Video}

	return []door{
		{name: "the shim", close: pauseByShim, open: resumeByShim},
		object("an object by connection ids", byConnectionID),
		object("an object by client ids", byClientID),
		openReceivers, openSenders, exceptReceivers, exceptSenders, audio, both,
		{name: "expiry", close: pauseWithExpiry, open: expire},
	}
}

func pauseByShim(t *testing.T, m *meeting) types.UID {
	t.Helper()
	mustPost(t, pauseTarget, edgeBody(m.channel, m.alice, m.bob))
	pauses := pausesOf(t, m.channel)
	if len(pauses) != 1 {
		t.Fatalf("the shim made %d objects, want 1", len(pauses))
	}

	return pauses[0].UID
}

func resumeByShim(t *testing.T, m *meeting) {
	t.Helper()
	mustPost(t, resumeTarget, edgeBody(m.channel, m.alice, m.bob))
	if pauses := pausesOf(t, m.channel); len(pauses) != 0 {
		t.Errorf("after the resume %d objects are left", len(pauses))
	}
}

func pauseWithExpiry(t *testing.T, m *meeting) types.UID {
	t.Helper()
	spec := byConnectionID(m)
	spec.ExpiresAt = new(metav1.NewTime(time.Now().Add(time.Hour)))

	return createPause(t, m.channel, spec).UID
}

// expire moves the expiry to the next whole second but one, and proves that the
// media waits for it.
func expire(t *testing.T, m *meeting) {
	t.Helper()
	at := metav1.NewTime(time.Now().Truncate(time.Second).Add(2 * time.Second))
	pause := running.edit(t, newPause(m.channel, v1alpha1.RtpStreamPauseSpec{}), func(spec *v1alpha1.RtpStreamPauseSpec) {
		spec.ExpiresAt = &at
	})
	count := len(m.paused().arrivals(bot.Video))
	m.paused().awaitMore(t, bot.Video, 1)
	if first := m.paused().arrivals(bot.Video)[count]; first.at.Before(at.Time) {
		t.Errorf("video went on %s before the pause expired", at.Sub(first.at))
	}
	deletePause(t, awaitReady(t, pause, v1alpha1.ReasonExpired))
}

// TestPauseAndResume proves, for every way to pause, what stops, what goes on and
// how it resumes.
func TestPauseAndResume(t *testing.T) {
	for _, d := range doors() {
		t.Run(d.name, func(t *testing.T) {
			m := newMeeting(t)
			reference := edge{m.carol, m.bob}
			if d.reference != nil {
				reference = d.reference(m)
			}
			kinds := d.kinds
			if len(kinds) == 0 {
				kinds = []bot.Kind{bot.Video}
			}
			proveAudioAsEven(t, slices.Contains(kinds, bot.Audio), func() *observation {
				return pauseAndResume(t, m, d, m.watchEdge(t, m.paused(), reference, kinds...))
			})
			proveContiguous(t, "video of the edge that was never paused", reference.arrivals(bot.Video))
		})
	}
}

func pauseAndResume(t *testing.T, m *meeting, d door, w *observation) *observation {
	t.Helper()
	uid := d.close(t, m)
	waitEnforced(t, uid)
	w.provePaused(t)
	told := awaitNotification(t, m, bot.EventStreamPaused, w.paused)
	if want := pausesOf(t, m.channel)[0].Spec.Reason; told.Reason != want {
		t.Errorf("alice was told the reason %q, want %q", told.Reason, want)
	}

	w.proveSilence(t)
	d.open(t, m)
	w.proveResumed(t)
	awaitNotification(t, m, bot.EventStreamResumed, w.paused)

	return w
}

// proveAudioAsEven proves that a pause makes no gap in the audio: the largest is at
// most twice what a receiver saw meanwhile that is never paused. A machine that is
// busy with other things may hold up one receiver of the test alone; what the
// pause did would show every time, so one good observation of three is asked for.
func proveAudioAsEven(t *testing.T, audioPaused bool, observe func() *observation) {
	t.Helper()
	for attempt := 1; ; attempt++ {
		w := observe()
		if audioPaused || t.Failed() {
			return
		}
		gap, reference := w.audioGaps()
		t.Logf("largest gap between audio packets: %s; never paused: %s", gap, reference)
		if gap <= 2*reference {
			return
		}
		if attempt == 3 {
			t.Errorf("audio: three times the largest gap was more than twice that of a receiver never paused")

			return
		}
	}
}

// awaitNotification waits until alice is told about bob's stream.
func awaitNotification(t *testing.T, m *meeting, event string, kinds []bot.Kind) bot.Notification {
	t.Helper()
	told := await(t, "notify "+event, func() (bot.Notification, bool) {
		for _, n := range m.alice.Notifications() {
			if n.EventType == event && n.SendConnectionID == m.bob.ConnectionID() {
				return n, true
			}
		}

		return bot.Notification{}, false
	})
	if told.ChannelID != m.channel || told.RecvConnectionID != m.alice.ConnectionID() ||
		told.StreamID != m.bob.ConnectionID() || fmt.Sprint(told.Kinds) != fmt.Sprint(kinds) {
		t.Errorf("alice was told %s, want the edge with kinds %v", told.Raw, kinds)
	}

	return told
}

// TestManyCuts pauses and resumes one edge again and again, until cuts have fallen
// between frames and inside them, and proves each cut and each restart.
func TestManyCuts(t *testing.T) {
	m := newMeeting(t)
	spec := byConnectionID(m)
	insideFrame, betweenFrames := 0, 0
	for cuts := 0; cuts < 6 || insideFrame == 0 || betweenFrames == 0; cuts++ {
		if cuts == 40 {
			t.Fatalf("of %d cuts, %d fell inside a frame and %d between frames", cuts, insideFrame, betweenFrames)
		}
		w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, bot.Video)
		pause := createPause(t, m.channel, spec)
		waitEnforced(t, pause.UID)
		w.provePaused(t)
		if all := m.paused().arrivals(bot.Video); all[len(all)-1].marker {
			betweenFrames++
		} else {
			insideFrame++
		}
		deletePause(t, pause)
		w.proveResumed(t)
	}
	t.Logf("%d cuts inside a frame, %d between frames", insideFrame, betweenFrames)
}

// TestUnion proves that an edge stays paused until the last object that pauses it
// is gone.
func TestUnion(t *testing.T) {
	m := newMeeting(t)
	w := m.watchEdge(t, m.paused(), edge{m.carol, m.bob}, bot.Video)
	first, second := byConnectionID(m), byClientID(m)
	one, two := createPause(t, m.channel+"-1", first), createPause(t, m.channel+"-2", second)
	waitEnforced(t, one.UID)
	waitEnforced(t, two.UID)
	w.provePaused(t)

	deletePause(t, one)
	// A resume would show within the keyframe that passes over the reference edge.
	w.reference.awaitMore(t, bot.Video, enoughVideo)
	w.proveSilence(t)

	deletePause(t, two)
	w.proveResumed(t)
}
