package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// maxAfterReady is how soon after the API server's /readyz says 200 a new pause
// acts.
const maxAfterReady = 2 * time.Second

// outage is for how long what of the cluster is away.
type outage struct {
	length   time.Duration
	withEtcd bool
}

// TestClusterAway takes the API server away for a while, and etcd too, and proves
// that what is enforced stays so, that managers and media server say that they are
// behind, and that pauses act at once when it is back.
func TestClusterAway(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	pause, held := m.enforced(t, m.channel, m.paused())
	w := m.watchEdge(t, edge{m.carol, m.bob}, edge{m.bob, m.alice}, "video")
	outages := []outage{{length: 6 * time.Second}}
	longOutages := 1
	if *rounds > fewRounds {
		longOutages = *rounds
	}
	for range longOutages {
		outages = append(outages, outage{30 * time.Second, true})
	}
	d := delays{}
	for round, o := range outages {
		s.plane.killAPIServer(t)
		if o.withEtcd {
			s.plane.killEtcd(t)
		}
		gone := time.Now()
		s.proveBehind(t)
		during(t, o.length-time.Since(gone), func() { held.proveSilence(t) })
		if o.withEtcd {
			s.plane.startEtcd(t)
		}
		s.plane.startAPIServer(t)

		back := time.Now()
		fresh, took := w.pausedNow(t, fmt.Sprintf("%s-%d", m.channel, round))
		t.Logf("%+v: a pause created at once acted after %s", o, took)
		if took > maxAfterReady {
			t.Errorf("%+v: a pause created at once acted after %s", o, took)
		}
		for _, manager := range s.managers {
			manager.awaitReady(t)
		}
		t.Logf("the managers were ready after %s", time.Since(back))
		s.awaitReady(t, fresh, v1alpha1.ReasonEnforced)
		s.awaitReady(t, pause, v1alpha1.ReasonEnforced)
		s.shims[0].expectList(t, m.channel, held.edge, w.edge)
		s.deletePause(t, fresh)
		w.flowsAfter(t, time.Now())
		w.exercise(t, m.channel+"-after", &d)
		w.exerciseShim(t, s.shims[0], &d)
		held.proveSilence(t)
	}
	d.judge(t)
}

// proveBehind proves that the managers and the media server say that they do not
// hear from the API server.
func (s *system) proveBehind(t *testing.T) {
	t.Helper()
	gone := time.Now()
	for _, manager := range s.managers {
		manager.awaitUnready(t, "API server")
		t.Logf("%s said that it is behind after %s", manager.name, time.Since(gone))
		if stale := manager.metric(t, "nagi_objects_stale_seconds"); stale <= 0 {
			t.Errorf("%s: the metric says that it is stale for %v s", manager.name, stale)
		}
	}
	await(t, "the media server to count its tables as stale", func() (float64, bool) {
		stale := s.mediaServers[0].metric(t, "nagi_tables_staleness_seconds")

		return stale, stale > 0
	})
}
