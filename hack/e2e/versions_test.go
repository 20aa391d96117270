package e2e

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// TestVersionsOneApart has the real programs understand each other as builds that are
// one version apart would, whichever of them is the later one: pauses act, by objects
// and by the shim, edits are one step, every manager knows it, and streams live.
func TestVersionsOneApart(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	_, held := m.enforced(t, m.channel, m.paused())
	w := m.watchEdge(t, edge{m.carol, m.bob}, edge{m.bob, m.alice}, bot.Video)
	for _, apart := range []struct {
		name string
		// What the media server says to each manager, and what each says to it.
		fromMedia, fromManagers [2]dialect
		features                [2]string
	}{
		{"earlier media server", [2]dialect{earlier, earlier}, [2]dialect{unheard, unheard}, [2]string{"", ""}},
		{"later media server", [2]dialect{later, later}, [2]dialect{asItIs, asItIs}, [2]string{newFeature, newFeature}},
		{"earlier managers", [2]dialect{asItIs, asItIs}, [2]dialect{earlier, earlier}, [2]string{"", ""}},
		{"later managers", [2]dialect{asItIs, asItIs}, [2]dialect{later, later}, [2]string{newFeature, newFeature}},
		{"managers of two versions", [2]dialect{asItIs, asItIs}, [2]dialect{earlier, later}, [2]string{"", newFeature}},
	} {
		t.Run(apart.name, func(t *testing.T) {
			for i, manager := range s.managers {
				tr := translate(t, manager, apart.fromMedia[i], apart.fromManagers[i])
				said := await(t, "a media server to be welcomed", tr.greeted)
				if strings.Contains(said, newFeature) != (apart.features[i] == newFeature) {
					t.Errorf("manager %d and the media server name the features %q", i, said)
				}
			}
			name := channelOf(t)
			w.exercise(t, name, &delays{})
			w.exerciseShim(t, s.shims[0], &delays{})
			pause, _ := w.pausedNow(t, name+"-edited")
			for _, change := range []func(*v1alpha1.RtpStreamPauseSpec){
				func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Receivers = connections(m.carol, m.bob) },
				func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Senders = clients("bob", "carol") },
			} {
				pause = s.edit(t, pause, change)
				for _, manager := range s.managers {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					err := waitEnforcedBy(ctx, []forwardingv1.ViewClient{manager.view}, pause)
					cancel()
					if err != nil {
						t.Fatalf("%s does not know that the edit is enforced: %v", manager.name, err)
					}
				}
				w.proveSilence(t)
			}
			s.awaitReady(t, pause, v1alpha1.ReasonEnforced)
			s.shims[0].expectList(t, m.channel, held.edge, w.edge, edge{m.bob, m.carol})
			s.deletePause(t, pause)
			w.proveResumed(t)
			held.proveSilence(t)
		})
	}
}

// TestWhatALaterManagerAsksForIsTold has managers of a later version ask for what this
// media server does not know: it pauses nobody, is told in the object's status, and
// leaves all other pauses alone.
func TestWhatALaterManagerAsksForIsTold(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 1, shims: 1, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	_, held := m.enforced(t, m.channel, m.paused())
	tr := translate(t, s.managers[0], asItIs, strange)
	await(t, "a media server to be welcomed", tr.greeted)
	for _, reason := range []string{strangeSide, strangeKind} {
		spec := clientSpec(m.channel, "carol", "bob")
		spec.Reason = reason
		pause := s.createPause(t, m.channel+"-"+strings.Fields(reason)[1], spec)
		s.awaitStatus(t, pause, metav1.ConditionFalse, v1alpha1.ReasonNotUnderstood)
		s.shims[0].expectList(t, m.channel, held.edge)
		edge{m.carol, m.bob}.awaitMore(t, bot.Video, enoughVideo)

		// An edit makes it a rule like others.
		w := m.watchEdge(t, edge{m.carol, m.bob}, edge{m.bob, m.alice}, bot.Video)
		pause = s.edit(t, pause, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Reason = "known" })
		s.awaitReady(t, pause, v1alpha1.ReasonEnforced)
		w.provePaused(t)
		s.deletePause(t, pause)
		w.proveResumed(t)
	}
	held.proveSilence(t)
}
