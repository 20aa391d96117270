package e2e

import (
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// skew is how far a media server's clock is behind.
const skew = 8 * time.Second

// TestSlowClock proves that a pause is not said to have expired while a media
// server whose clock is behind still withholds, and that the skew is measured.
func TestSlowClock(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	slow := s.newMediaServer(1)
	stepped := t.TempDir()
	buildStepped(t, stepped, "../../cmd/mediaserver")
	slow.path = filepath.Join(stepped, "mediaserver")
	slow.stepClock(t, -skew)
	s.mediaServers = append(s.mediaServers, slow)
	if err := s.startMediaServer(t.Context(), slow); err != nil {
		t.Fatal(err)
	}
	slow.awaitReady(t)
	channel := channelOf(t)
	alice, bob := slow.join(t, channel, "alice", bot.SendRecv), slow.join(t, channel, "bob", bot.SendRecv)
	m := &meeting{system: s, channel: channel, alice: alice, bob: bob}
	w := m.watchEdge(t, m.paused(), edge{bob, alice}, bot.Video)
	spec := clientSpec(channel, "alice", "bob")
	expiry := time.Now().Truncate(time.Second).Add(4 * time.Second)
	spec.ExpiresAt = new(metav1.NewTime(expiry))
	pause := s.createPause(t, channel, spec)
	s.waitEnforced(t, pause.UID)
	w.findCut(t)
	for _, manager := range s.managers {
		await(t, manager.name+" to measure the skew", func() (float64, bool) {
			measured := manager.metric(t, "nagi_mediaserver_clock_skew_seconds")

			return measured, measured > skew.Seconds()/2
		})
	}
	s.awaitReady(t, pause, v1alpha1.ReasonExpired)
	said := time.Now()
	flows := w.flowsAfter(t, expiry)
	t.Logf("video went on %s after the expiry, and the status said so %s after it", flows, said.Sub(expiry))
	if flows < skew-2*time.Second {
		t.Errorf("the clock was not slow: video went on %s after the expiry", flows)
	}
	if w.edge.arrivals(bot.Video)[w.cut[bot.Video]].at.After(said.Add(100 * time.Millisecond)) {
		t.Error("the status said Expired before video went on")
	}
}
