package lifecycle_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

func eventsIn(t *testing.T, ns string) map[string]eventsv1.Event {
	t.Helper()
	var list eventsv1.EventList
	if err := k8s.List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	result := map[string]eventsv1.Event{}
	for _, event := range list.Items {
		result[event.Regarding.Name+" "+event.Reason] = event
	}

	return result
}

func TestEventsTellTheStory(t *testing.T) {
	ns := namespace(t)
	known := newActing(t, ns)
	elect(t, plane.Config, known, ns)
	o := pauseIn(t, ns, "pause", nil)
	waitReason(t, o, v1alpha1.ReasonArmed)
	for _, verdict := range []knowledge.Verdict{
		{Reason: v1alpha1.ReasonEnforced, Matching: []string{"ms"}},
		{Reason: v1alpha1.ReasonArmed},
		{Reason: v1alpha1.ReasonLimitExceeded},
		{Reason: v1alpha1.ReasonEnforced, Matching: []string{"ms"}},
		{Reason: v1alpha1.ReasonExpired},
	} {
		known.judge(o.Name, verdict)
		waitReason(t, o, verdict.Reason)
	}
	eventually(t, "all events are there", func() bool { return len(eventsIn(t, ns)) == 4 })
	for reason, want := range map[string]struct{ kind, action, note string }{
		"Enforced": {corev1.EventTypeNormal, "Enforce", `media server "ms"`},
		"Armed":    {corev1.EventTypeNormal, "Arm", "whoever comes"},
		"Expired":  {corev1.EventTypeNormal, "Expire", "expiresAt"},
		"Refused":  {corev1.EventTypeWarning, "Refuse", "oldest act"},
	} {
		event := eventsIn(t, ns)[o.Name+" "+reason]
		if event.Type != want.kind || event.Action != want.action || !strings.Contains(event.Note, want.note) {
			t.Errorf("%s: %+v", reason, event)
		}
		if r := event.Regarding; r.UID != o.UID || r.Namespace != ns || r.Kind != "RtpStreamPause" ||
			r.APIVersion != "rtp.nagi.dev/v1alpha1" || r.ResourceVersion != "" {
			t.Errorf("%s is about %+v", reason, r)
		}
	}
	eventually(t, "what repeats itself is counted", func() bool {
		event := eventsIn(t, ns)[o.Name+" Enforced"]

		return event.Series != nil && event.Series.Count == 2
	})
	out, err := exec.CommandContext(t.Context(), plane.Kubectl, "--kubeconfig", plane.Kubeconfig, "describe", "rsp",
		"pause", "-n", ns).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl describe: %v\n%s", err, out)
	}
	_, story, _ := strings.Cut(string(out), "Events:")
	for _, word := range []string{"Armed", "Enforced", "Refused", "Expired", "Warning", "nagi-manager"} {
		if !strings.Contains(story, word) {
			t.Errorf("kubectl describe does not say %s:\n%s", word, out)
		}
	}
}

func TestEventsAreBoundedAndOptional(t *testing.T) {
	ns := namespace(t)
	known := newActing(t, ns)
	// It may write status, and no events.
	e := elect(t, roleOf(t, ns, leases, rbacv1.PolicyRule{
		APIGroups: []string{v1alpha1.GroupVersion.Group},
		Resources: []string{v1alpha1.Plural + "/status"},
		Verbs:     []string{"patch"},
	}), known, ns)
	var last *v1alpha1.RtpStreamPause
	began := time.Now()
	for n := range 300 {
		last = pauseIn(t, ns, fmt.Sprint(n), nil)
	}
	waitReason(t, last, v1alpha1.ReasonArmed)
	eventually(t, "every status is written", func() bool { return statuses(t, ns) == 300 })
	eventually(t, "each of 300 transitions is told or dropped", func() bool {
		told, dropped := e.counted(t, "nagi_pause_events_total"), e.counted(t, "nagi_pause_events_dropped_total")

		return told+dropped == 300
	})
	// Fifty at once, and ten a second: a slow machine has time for more.
	told, dropped := e.counted(t, "nagi_pause_events_total"), e.counted(t, "nagi_pause_events_dropped_total")
	if most := 50 + 10*time.Since(began).Seconds(); told == 0 || told > most+1 {
		t.Errorf("of 300 transitions %v were told and %v dropped, want at most %.0f", told, dropped, most)
	}
	if e.GaveUp() != nil || len(eventsIn(t, ns)) != 0 {
		t.Errorf("%v, %v", e.GaveUp(), eventsIn(t, ns))
	}
}

// statuses counts the pauses whose status has been written.
func statuses(t *testing.T, ns string) (count int) {
	t.Helper()
	var list v1alpha1.RtpStreamPauseList
	if err := k8s.List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Items {
		if len(o.Status.Conditions) > 0 {
			count++
		}
	}

	return count
}
