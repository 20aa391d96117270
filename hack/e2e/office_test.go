package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// TestOfficeIsGivenUp takes the right to write status away from the manager in
// office, which has the rights that we ship until then, and proves that it gives
// the office up, says so, and another writes; pauses act all the while.
func TestOfficeIsGivenUp(t *testing.T) {
	t.Parallel()
	users := []string{"manager-a", "manager-b"}
	roles := map[string]*role{}
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1, managerUsers: users, prepare: func(s *system) error {
		for _, user := range users {
			r, err := shippedRole("manager/role.yaml", user)
			if err != nil {
				return err
			}
			roles[user] = r
			if err := s.grant(context.Background(), *r); err != nil {
				return err
			}
		}

		return nil
	}})
	m := s.newMeeting(t, channelOf(t))
	_, held := m.enforced(t, m.channel, m.paused())
	leader, others := s.inOffice(t)
	r := roles[users[0]]
	if leader == s.managers[1] {
		r = roles[users[1]]
	}
	s.mustGrant(t, r.without("rtpstreampauses/status"))

	w := m.watchEdge(t, edge{m.carol, m.bob}, edge{m.bob, m.alice}, "video")
	taken := time.Now()
	fresh, took := w.pausedNow(t, m.channel+"-fresh")
	t.Logf("a pause acted after %s with a leader that cannot write", took)
	s.awaitReady(t, fresh, v1alpha1.ReasonEnforced)
	t.Logf("its status was written after %s", time.Since(taken))
	if now, _ := s.inOffice(t); now != others[0] {
		t.Errorf("%s is in office, want %s", now.name, others[0].name)
	}
	await(t, leader.name+" to say that it gave up", func() (string, bool) {
		status, text := leader.ask(t, "/readyz")

		return fmt.Sprint(status, " ", text), status == http.StatusOK && contains(text, "gave up") &&
			contains(text, "forbidden")
	})
	held.proveSilence(t)
	s.deletePause(t, fresh)
	w.proveResumed(t)

	// With the right back it can serve again.
	s.mustGrant(t, *r)
	others[0].kill()
	s.inOffice(t, leader)
	fresh, _ = w.pausedNow(t, m.channel+"-again")
	s.awaitReady(t, fresh, v1alpha1.ReasonEnforced)
	await(t, leader.name+" to say nothing of it any more", func() (string, bool) {
		_, text := leader.ask(t, "/readyz")

		return text, !contains(text, "gave up")
	})
	held.proveSilence(t)
}
