package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// maxDelay is how long a pause may take while a manager is dead, frozen or cut off:
// milliseconds, but for a machine that is busy with testing.
const maxDelay = time.Second

// longFault is longer than it takes to give a silent connection up.
const longFault = 20 * time.Second

// fault is what can befall one of two managers.
type fault struct {
	name string
	// long: once it lasts until all connections to the manager have been given up.
	long   bool
	strike func(*testing.T, *system, *manager)
	heal   func(*testing.T, *system, *manager)
}

func faults() []fault {
	return []fault{
		{
			name:   "killed",
			strike: func(_ *testing.T, _ *system, m *manager) { m.kill() },
			heal: func(t *testing.T, s *system, m *manager) {
				if err := s.startManager(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name:   "frozen",
			strike: func(t *testing.T, _ *system, m *manager) { m.freeze(t) },
			heal:   func(t *testing.T, _ *system, m *manager) { m.thaw(t) },
		},
		{
			name: "cut off half-open",
			long: true,
			strike: func(_ *testing.T, _ *system, m *manager) {
				for _, r := range m.relays {
					r.hold()
				}
			},
			heal: func(_ *testing.T, _ *system, m *manager) {
				for _, r := range m.relays {
					r.pass()
				}
			},
		},
		{
			name:   "without the API server",
			strike: func(_ *testing.T, _ *system, m *manager) { m.api.hold() },
			heal:   func(_ *testing.T, _ *system, m *manager) { m.api.pass() },
		},
	}
}

// TestTwoManagers strikes one of two managers, the one in office and the other in
// turn, and proves each time that pausing and resuming go on without delay, by
// objects and by the shim, while it is struck, as it is healed and afterwards; that
// what was enforced stays so; and that no process ends.
func TestTwoManagers(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	_, held := m.enforced(t, m.channel, m.paused())
	w := m.watchEdge(t, edge{m.carol, m.bob}, edge{m.bob, m.alice}, "video")
	for _, f := range faults() {
		bore := t.Run(f.name, func(t *testing.T) {
			d := delays{}
			for round := range *rounds {
				struck := s.managers[round%2]
				f.strike(t, s, struck)
				w.exercise(t, fmt.Sprintf("%s-struck-%d", m.channel, round), &d)
				w.exerciseShim(t, s.shims[0], &d)
				if f.long && round == 0 {
					during(t, longFault, func() { w.exercise(t, m.channel+"-meanwhile", &d) })
				}
				f.heal(t, s, struck)
				w.exercise(t, fmt.Sprintf("%s-healed-%d", m.channel, round), &d)
				struck.awaitReady(t)
				w.exerciseShim(t, s.shims[0], &d)
				held.proveSilence(t)
				s.shims[0].expectList(t, m.channel, held.edge)
			}
			d.judge(t)
		})
		if !bore {
			return // What is struck stays so.
		}
	}
}

// TestLeaseLostAndWon takes the lease away again and again and proves that nothing
// waits for it but status, which is true again once somebody has won it.
func TestLeaseLostAndWon(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	pause, held := m.enforced(t, m.channel, m.paused())
	w := m.watchEdge(t, edge{m.carol, m.bob}, edge{m.bob, m.alice}, "video")
	d := delays{}
	for round := range *rounds {
		leader, _ := s.inOffice(t)
		s.takeLease(t)
		await(t, "the leader to know that it lost the lease", func() (float64, bool) {
			w.exercise(t, m.channel+"-lost", &d)
			inOffice := leader.metric(t, "nagi_manager_in_office")

			return inOffice, inOffice == 0
		})
		w.exerciseShim(t, s.shims[0], &d)
		s.inOffice(t)
		fresh := s.createPause(t, fmt.Sprintf("%s-%d", m.channel, round), clientSpec(m.channel, "nobody", "bob"))
		s.awaitReady(t, fresh, v1alpha1.ReasonArmed)
		s.awaitReady(t, pause, v1alpha1.ReasonEnforced)
		held.proveSilence(t)
	}
	d.judge(t)
}

// takeLease writes somebody else into the lease, for a second.
func (s *system) takeLease(t *testing.T) {
	t.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "nagi-manager"}}
	patch := fmt.Appendf(nil, `{"spec":{"holderIdentity":"somebody","leaseDurationSeconds":1,"renewTime":%q}}`,
		time.Now().UTC().Format(metav1.RFC3339Micro))
	if err := s.api.Patch(t.Context(), lease, client.RawPatch(types.MergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
}

// delays are how long pauses and resumes took.
type delays struct{ pauses, resumes, posts []time.Duration }

// exercise pauses and resumes the observed edge by an object.
func (w *observation) exercise(t *testing.T, name string, d *delays) {
	t.Helper()
	pause, took := w.pausedNow(t, name)
	d.pauses = append(d.pauses, took)
	asked := time.Now()
	w.system.deletePause(t, pause)
	d.resumes = append(d.resumes, w.resumedAfter(t, asked))
}

// resumedAfter waits until the edge is not paused and then until video flows, and
// returns how long after a moment it was not paused. The keyframe may take longer:
// on a busy machine its packets are lost now and then.
func (w *observation) resumedAfter(t *testing.T, asked time.Time) time.Duration {
	t.Helper()
	took := await(t, "the end of the pause", func() (time.Duration, bool) {
		streams := w.system.explain(t, w.channel, w.edge).GetStreams()

		return time.Since(asked), !slices.ContainsFunc(streams, func(s *forwardingv1.Stream) bool {
			return slices.Contains(s.GetWithheld(), forwardingv1.Withheld_WITHHELD_PAUSED)
		})
	})
	w.flowsAfter(t, asked)

	return took
}

// exerciseShim does so by the shim.
func (w *observation) exerciseShim(t *testing.T, through *shim, d *delays) {
	t.Helper()
	asked := time.Now()
	through.mustPost(t, pauseTarget, edgeBody(w.channel, w.edge.receiver, w.edge.sender))
	d.posts = append(d.posts, time.Since(asked))
	d.pauses = append(d.pauses, w.actedAfter(t, asked))
	asked = time.Now()
	through.mustPost(t, resumeTarget, edgeBody(w.channel, w.edge.receiver, w.edge.sender))
	d.posts = append(d.posts, time.Since(asked))
	d.resumes = append(d.resumes, w.resumedAfter(t, asked))
}

// judge fails the test when anything took long.
func (d *delays) judge(t *testing.T) {
	t.Helper()
	for what, all := range map[string][]time.Duration{"pause": d.pauses, "resume": d.resumes, "POST": d.posts} {
		var longest time.Duration
		for _, took := range all {
			longest = max(longest, took)
		}
		t.Logf("of %d, the longest %s took %s", len(all), what, longest)
		if longest > maxDelay {
			t.Errorf("a %s took %s: %v", what, longest, all)
		}
	}
}
