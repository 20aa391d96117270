package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

// TestLeaderWakes freezes the manager in office until another is, changes what is
// so, wakes it, and proves that it writes nothing: no status goes back to what was
// so before, and no two writers fight.
func TestLeaderWakes(t *testing.T) {
	t.Parallel()
	const objects = 60
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	leader, others := s.inOffice(t)
	for i := range objects {
		receiver := []string{"alice", "carol"}[i%2]
		s.createPause(t, fmt.Sprintf("%s-%d", m.channel, i), clientSpec(m.channel, receiver, "bob"))
	}
	s.awaitReasons(t, v1alpha1.ReasonEnforced, v1alpha1.ReasonEnforced)

	leader.freeze(t)
	s.inOffice(t, others...)
	// What is so changes while it does not see it.
	m.alice.leave(t)
	s.awaitReasons(t, v1alpha1.ReasonArmed, v1alpha1.ReasonEnforced)

	before := s.versions(t)
	changes := s.followAll(t)
	leader.thaw(t)
	during(t, 6*time.Second, func() {})
	told := changes.told()
	t.Logf("in 6 s after it woke %d statuses changed", len(told)-len(before))
	for _, state := range told {
		if state.ResourceVersion == before[state.Name] {
			continue
		}
		ready := condition(&state, v1alpha1.ConditionReady)
		t.Errorf("%s was written after the leader woke: %s %s by %v", state.Name, ready.Status, ready.Reason,
			state.ManagedFields)
	}
	if now, _ := s.inOffice(t); now == leader {
		t.Error("the one that woke took the office back")
	}
	s.awaitReasons(t, v1alpha1.ReasonArmed, v1alpha1.ReasonEnforced)
}

// awaitReasons waits until the even and the odd objects are Ready for those
// reasons.
func (s *system) awaitReasons(t *testing.T, even, odd string) {
	t.Helper()
	await(t, "every status", func() (string, bool) {
		list := &v1alpha1.RtpStreamPauseList{}
		if err := s.api.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		wrong := ""
		for i := range list.Items {
			pause := &list.Items[i]
			want := even
			if pause.Spec.Receivers.ClientIDs[0] == "carol" {
				want = odd
			}
			if got := condition(pause, v1alpha1.ConditionReady).Reason; got != want {
				wrong = fmt.Sprintf("%s: %q, want %s", pause.Name, got, want)
			}
		}

		return wrong, wrong == ""
	})
}

// versions are the resource versions of all objects, by name.
func (s *system) versions(t *testing.T) map[string]string {
	t.Helper()
	list := &v1alpha1.RtpStreamPauseList{}
	if err := s.api.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, pause := range list.Items {
		versions[pause.Name] = pause.ResourceVersion
	}

	return versions
}

// followAll watches all objects until told is called; their states at the
// beginning come first.
func (s *system) followAll(t *testing.T) *story {
	t.Helper()
	watcher, err := s.api.Watch(t.Context(), &v1alpha1.RtpStreamPauseList{}, client.InNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}

	return tell(t, watcher)
}
