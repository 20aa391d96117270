package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// TestMediaServerLost takes a media server out of touch in each way that there is,
// under two managers and with the times of production, and proves that nobody
// takes its silence for knowledge.
func TestMediaServerLost(t *testing.T) {
	t.Parallel()
	// Clients give a silent media server up after half a minute.
	s := own(t, layout{managers: 2, shims: 2, mediaServers: 1, shimArgs: []string{"--pause-timeout=1s"}})
	t.Run("frozen", func(t *testing.T) {
		at := s.mediaServers[0]
		l := newLoss(t, s)
		at.freeze(t)
		l.prove(t)
		at.thaw(t)
		l.proveBack(t)
	})
	t.Run("half-open", func(t *testing.T) {
		l := newLoss(t, s)
		for _, m := range s.managers {
			m.mediaServers.hold()
		}
		during(t, 2*time.Second, func() { l.w.proveSilence(t) })
		l.prove(t)
		for _, m := range s.managers {
			m.mediaServers.pass()
		}
		l.proveBack(t)
	})
	t.Run("killed", func(t *testing.T) {
		l := newLoss(t, s)
		s.mediaServers[0].kill()
		l.prove(t)
		if err := s.startMediaServer(t.Context(), s.mediaServers[0]); err != nil {
			t.Fatal(err)
		}
		s.mediaServers[0].awaitReady(t)
		// Its channel has ended, which it says by not naming it.
		s.awaitReady(t, l.enforced, v1alpha1.ReasonArmed)
		s.awaitReady(t, l.elsewhere, v1alpha1.ReasonArmed)
		m := s.newMeeting(t, l.meeting.channel)
		proveNoVideo(t, m.paused(), edge{m.carol, m.alice})
		s.awaitReady(t, l.enforced, v1alpha1.ReasonEnforced)
	})
}

// loss is a media server that is about to be out of touch, and what is there.
type loss struct {
	system  *system
	meeting *meeting
	w       *observation
	// enforced withholds an edge there; elsewhere is of a channel that nobody knows;
	// fresh is made while it is out of touch.
	enforced, elsewhere, fresh *v1alpha1.RtpStreamPause
	stories                    []*story
	begun                      time.Time
}

func newLoss(t *testing.T, s *system) *loss {
	t.Helper()
	l := &loss{system: s, meeting: s.newMeeting(t, channelOf(t)), begun: time.Now()}
	l.enforced, l.w = l.meeting.enforced(t, l.meeting.channel, l.meeting.paused())
	l.stories = append(l.stories, s.follow(t, l.enforced))

	return l
}

// prove proves what is said while the media server is out of touch.
func (l *loss) prove(t *testing.T) {
	t.Helper()
	s, m := l.system, l.meeting
	l.fresh = s.createPause(t, m.channel+"-fresh", clientSpec(m.channel, "carol", "bob"))
	l.elsewhere = s.createPause(t, m.channel+"-elsewhere", clientSpec("nowhere-"+m.channel, "carol", "bob"))
	l.stories = append(l.stories, s.follow(t, l.fresh), s.follow(t, l.elsewhere))
	for _, pause := range []*v1alpha1.RtpStreamPause{l.enforced, l.fresh, l.elsewhere} {
		s.awaitStatus(t, pause, metav1.ConditionUnknown, v1alpha1.ReasonMediaServerLost)
	}
	for _, shim := range s.shims {
		shim.mustRefuse(t, listTarget, body(field{"channel_id", m.channel}), http.StatusServiceUnavailable, "NOT-CONFIRMED")
		shim.mustRefuse(t, pauseTarget, edgeBody(m.channel, m.alice, m.carol), http.StatusServiceUnavailable, "NOT-CONFIRMED")
		if status, text := shim.post(t, pauseTarget,
			edgeBody("nowhere-"+m.channel, m.alice, m.carol)); status != http.StatusServiceUnavailable {
			t.Errorf("a channel that may have opened there: %d %s, want 503", status, text)
		}
	}
	for _, manager := range s.managers {
		known := manager.connections(t, m.channel)
		for _, member := range []*member{m.alice, m.bob, m.carol} {
			if c := known[member.ConnectionID()]; c == nil || !c.GetOutOfTouch() {
				t.Errorf("%s does not say that %s was there when it was last heard of: %v", manager.name, member.ClientID(), c)
			}
		}
	}
}

// proveBack proves that all is said again as it is, and that no packet leaked and
// no false word was said meanwhile.
func (l *loss) proveBack(t *testing.T) {
	t.Helper()
	s, m := l.system, l.meeting
	s.awaitReady(t, l.enforced, v1alpha1.ReasonEnforced)
	s.awaitReady(t, l.fresh, v1alpha1.ReasonEnforced)
	s.awaitReady(t, l.elsewhere, v1alpha1.ReasonArmed)
	t.Logf("out of touch for %s in all", time.Since(l.begun))
	edge{m.alice, m.carol}.awaitMore(t, bot.Audio, enoughAudio)
	l.w.proveSilence(t)
	for _, st := range l.stories {
		for _, state := range st.told() {
			ready := condition(&state, v1alpha1.ConditionReady)
			enforced := condition(&state, v1alpha1.ConditionEnforced)
			if state.Name == l.enforced.Name && enforced.Status == metav1.ConditionFalse {
				t.Errorf("%s was said not to be enforced: %+v", state.Name, enforced)
			}
			// Of a channel that nobody ever named there is nothing to know but that its
			// media server is silent, which takes its time.
			if state.Name != l.elsewhere.Name && ready.Reason == v1alpha1.ReasonArmed {
				t.Errorf("%s was said to be armed: %+v", state.Name, ready)
			}
		}
	}
	// The shim tried to pause this edge, and what it declared acts now.
	s.shims[0].mustPost(t, resumeTarget, edgeBody(m.channel, m.alice, m.carol))
	for _, pause := range []*v1alpha1.RtpStreamPause{l.enforced, l.fresh, l.elsewhere} {
		s.deletePause(t, pause)
	}
	l.w.flowsAfter(t, time.Now())
	for _, member := range []*member{m.alice, m.bob, m.carol} {
		member.leave(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, manager := range s.managers {
		if err := manager.Ready(ctx); err != nil {
			t.Error(err)
		}
	}
}
