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

// TestAPIServerAway takes the API server away for a while, and etcd too, and proves
// that what is enforced stays so, that the managers say that they are behind, and
// that pauses act at once when it is back.
func TestAPIServerAway(t *testing.T) {
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	pause, held := m.enforced(t, m.channel, m.paused())
	other := m.watchEdge(t, edge{m.carol, m.bob}, edge{m.bob, m.alice}, "video")
	for round, length := range []time.Duration{6 * time.Second, 30 * time.Second} {
		s.plane.killAPIServer(t)
		if round > 0 {
			s.plane.killEtcd(t)
		}
		gone := time.Now()
		for _, manager := range s.managers {
			manager.awaitUnready(t, "API server")
			t.Logf("%s said so after %s", manager.name, time.Since(gone))
			if stale := manager.metric(t, "nagi_objects_stale_seconds"); stale <= 0 {
				t.Errorf("%s: the metric says that it is stale for %v s", manager.name, stale)
			}
		}
		await(t, "the media server to count its tables as stale", func() (float64, bool) {
			stale := s.mediaServers[0].metric(t, "nagi_tables_staleness_seconds")
			return stale, stale > 0
		})
		during(t, length-time.Since(gone), func() { held.proveSilence(t) })
		if round > 0 {
			s.plane.startEtcd(t)
		}
		s.plane.startAPIServer(t)

		back := time.Now()
		fresh, took := other.pausedNow(t, fmt.Sprintf("%s-%d", m.channel, round))
		t.Logf("away for %s: a pause created at once acted after %s", length, took)
		if took > maxAfterReady {
			t.Errorf("away for %s: a pause created at once acted after %s", length, took)
		}
		for _, manager := range s.managers {
			manager.awaitReady(t)
		}
		t.Logf("the managers were ready after %s", time.Since(back))
		s.awaitReady(t, fresh, v1alpha1.ReasonEnforced)
		s.awaitReady(t, pause, v1alpha1.ReasonEnforced)
		s.shims[0].expectList(t, m.channel, held.edge, other.edge)
		s.deletePause(t, fresh)
		other.proveResumed(t)
		held.proveSilence(t)
	}
}
