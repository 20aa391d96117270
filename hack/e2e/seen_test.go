package e2e

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// TestFaultsAreSeen proves that what judges the faults can find something: a packet
// that leaks, from a media server that is told to forward what it has no table for,
// and statuses and lists that somebody makes up.
func TestFaultsAreSeen(t *testing.T) {
	t.Parallel()
	s := own(t, layout{
		managers: 1, shims: 1, mediaServers: 1, mediaServerArgs: []string{"--without-table=forward", "--table-wait=0s"},
	})
	l := newLoad(t, s)
	kept, flows := l.kept[0], l.lanes[0]
	l.converge(t, time.Now())
	if found := l.judge(); found.leaked != 0 || found.overclaims != 0 || found.statements == 0 || found.withheld == 0 {
		t.Fatalf("before anything happened: %+v", found)
	}

	// The object is still there and Enforced as the media server comes back, without a
	// manager in reach.
	s.managers[0].mediaServers.hold()
	s.mediaServers[0].kill()
	if err := s.startMediaServer(t.Context(), s.mediaServers[0]); err != nil {
		t.Fatal(err)
	}
	l.look()
	await(t, "video on the edge that is paused", func() (bool, bool) {
		came := kept.receiver.sawVideoSince(kept.sender, time.Now().Add(-time.Second))

		return came, came
	})
	if found := kept.judge(); found.leaked == 0 || found.overclaims == 0 {
		t.Errorf("packets of a paused edge came, and the judge found %+v", found)
	}

	// Nobody enforces this one, and its status says so.
	since := time.Now()
	if err := flows.create(t.Context()); err != nil {
		t.Fatal(err)
	}
	pretend(t, s, flows.object())
	await(t, "the witness to see the status", func() ([]statement, bool) {
		said := l.witness.of(content{flows.object().UID, flows.object().Generation})

		return said, len(said) > 0
	})
	said := time.Now()
	await(t, "video well after the status", func() (time.Duration, bool) {
		return time.Since(said), flows.receiver.sawVideoSince(flows.sender, said.Add(grace))
	})
	if found := flows.judge(); found.leaked == 0 || found.overclaims != 1 {
		t.Errorf("a status was made up, and the judge found %+v", found)
	}

	// The same where no packet shows it, for nobody can know.
	if err := flows.remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	flows.judge()
	if err := flows.create(t.Context()); err != nil {
		t.Fatal(err)
	}
	pretend(t, s, flows.object())
	await(t, "the witness to see the status", func() ([]statement, bool) {
		said := l.witness.of(content{flows.object().UID, flows.object().Generation})

		return said, len(said) > 0
	})
	l.silence(l.channels, since, time.Now())
	if found := flows.judge(); found.leaked != 0 || found.overclaims != 1 {
		t.Errorf("a status was made up that nobody could know, and the judge found %+v", found)
	}

	if err := flows.remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	flows.judge()
	flows.awaitFlow(t.Context())
	name := entry{
		RecvConnectionID: flows.receiver.here().ConnectionID(), SendConnectionID: flows.sender.here().ConnectionID(),
	}
	l.hearList(flows, []entry{name}, time.Now(), time.Now())
	if found := l.heardTooMuch(); found.overclaims != 1 {
		t.Errorf("a list named an edge that flows, and the judge found %+v", found)
	}
}

// pretend writes into an object's status that it is enforced.
func pretend(t *testing.T, s *system, pause *v1alpha1.RtpStreamPause) {
	t.Helper()
	now := s.get(t, pause)
	before := now.DeepCopy()
	now.Status.ObservedGeneration = now.Generation
	now.Status.Conditions = nil
	for _, name := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionEnforced} {
		now.Status.Conditions = append(now.Status.Conditions, metav1.Condition{
			Type: name, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonEnforced,
			ObservedGeneration: now.Generation, LastTransitionTime: metav1.Now(),
		})
	}
	if err := s.api.Status().Patch(t.Context(), now, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}
