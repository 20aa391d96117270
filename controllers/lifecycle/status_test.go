package lifecycle_test

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

func TestStatusFollowsTheVerdict(t *testing.T) {
	ns := namespace(t)
	known := newActing(t, ns)
	elect(t, plane.Config, known, ns)
	o := pauseIn(t, ns, "pause", func(o *v1alpha1.RtpStreamPause) { o.Finalizers = []string{"somebody.example/f"} })
	waitReason(t, o, v1alpha1.ReasonArmed)
	for _, verdict := range []knowledge.Verdict{
		{Reason: v1alpha1.ReasonEnforced, Matching: []string{"ms"}},
		{Reason: v1alpha1.ReasonNotAcknowledged, Waiting: []string{"ms"}},
		{Reason: v1alpha1.ReasonMediaServerLost, Lost: []string{"ms"}, LostSince: time.Now().Add(-time.Minute)},
		{Reason: v1alpha1.ReasonLimitExceeded},
		{Reason: v1alpha1.ReasonNotUnderstood},
		{Reason: v1alpha1.ReasonExpired},
	} {
		known.judge(o.Name, verdict)
		got := waitReason(t, o, verdict.Reason)
		if got.Status.MediaServer != "ms" || len(got.Status.Conditions) != 2 {
			t.Errorf("%s: %+v", verdict.Reason, got.Status)
		}
	}
	if err := k8s.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got := waitReason(t, o, v1alpha1.ReasonDeleting)
	if meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionEnforced) ||
		meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("in deletion: %+v", got.Status)
	}
	for _, entry := range got.ManagedFields {
		if entry.Manager == "nagi-manager" && entry.Subresource != "status" {
			t.Errorf("the manager owns fields outside of status: %s", entry.FieldsV1)
		}
	}
	got.Finalizers = nil
	if err := k8s.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
}

func TestABlipLeavesAStatusAsItIs(t *testing.T) {
	ns := namespace(t)
	known := newActing(t, ns)
	e := elect(t, plane.Config, known, ns)
	enforced := knowledge.Verdict{Reason: v1alpha1.ReasonEnforced, Matching: []string{"ms"}}
	known.judge("", enforced)
	o := pauseIn(t, ns, "pause", nil)
	before := waitReason(t, o, v1alpha1.ReasonEnforced).ResourceVersion
	// Past the time in which a new writer leaves everything as it is.
	eventually(t, "the writer is no longer new", func() bool {
		return e.counted(t, "nagi_pause_status_writes_total") == 1 && newcomer(t, known, ns)
	})

	lost := knowledge.Verdict{Reason: v1alpha1.ReasonMediaServerLost, Lost: []string{"ms"}, LostSince: time.Now()}
	known.judge(o.Name, lost)
	// A pause that has no status of its present generation gets it at once.
	known.judge("fresh", lost)
	fresh := pauseIn(t, ns, "fresh", nil)
	waitReason(t, fresh, v1alpha1.ReasonMediaServerLost)
	known.judge(o.Name, knowledge.Verdict{Reason: v1alpha1.ReasonNotAcknowledged, Waiting: []string{"ms"}})
	last := pauseIn(t, ns, "last", nil)
	waitReason(t, last, v1alpha1.ReasonEnforced)
	known.judge(o.Name, enforced)
	if now := get(t, o); now.ResourceVersion != before {
		t.Errorf("a blip rewrote the status: %+v", now.Status)
	}
	since := time.Now()
	lost.LostSince = since
	known.judge(o.Name, lost)
	waitReason(t, o, v1alpha1.ReasonMediaServerLost)
	if took := time.Since(since); took < knowledge.LossGrace {
		t.Errorf("written %s after the loss", took)
	}
}

// newcomer tells that the writer holds itself no longer for new: it takes a status
// in place back.
func newcomer(t *testing.T, known *acting, ns string) bool {
	t.Helper()
	name := "newcomer"
	if !slices.Contains(known.Names(), name) {
		pauseIn(t, ns, name, nil)
		known.judge(name, knowledge.Verdict{Reason: v1alpha1.ReasonEnforced, Matching: []string{"ms"}})
		waitReason(t, &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}},
			v1alpha1.ReasonEnforced)
		known.judge(name, knowledge.Verdict{Reason: v1alpha1.ReasonArmed})
	}
	waitReason(t, &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}, v1alpha1.ReasonArmed)

	return true
}

func TestTTLAfterExpiry(t *testing.T) {
	ns := namespace(t)
	known := newActing(t, ns)
	e := elect(t, plane.Config, known, ns)
	expired := metav1.Time{Time: time.Now().Add(-time.Minute)}
	with := func(ttl int64) func(*v1alpha1.RtpStreamPause) {
		return func(o *v1alpha1.RtpStreamPause) {
			o.Spec.ExpiresAt, o.Spec.TTLSecondsAfterExpired = &expired, &ttl
		}
	}
	withheld := knowledge.Verdict{
		Reason: v1alpha1.ReasonEnforced, Matching: []string{"slow"}, Withholding: []string{"slow"},
	}
	known.judge("", knowledge.Verdict{Reason: v1alpha1.ReasonExpired})
	known.judge("withheld", withheld)
	slow := pauseIn(t, ns, "withheld", with(0))
	past := pauseIn(t, ns, "past", with(1))
	later := pauseIn(t, ns, "later", with(65))
	never := pauseIn(t, ns, "never", func(o *v1alpha1.RtpStreamPause) { o.Spec.ExpiresAt = &expired })
	eventually(t, "the first is deleted", gone(t, past))
	waitReason(t, later, v1alpha1.ReasonExpired)
	waitReason(t, never, v1alpha1.ReasonExpired)
	waitReason(t, slow, v1alpha1.ReasonEnforced)
	eventually(t, "the second is deleted", gone(t, later))
	if at := expired.Add(65 * time.Second); time.Now().Before(at.Truncate(time.Second)) {
		t.Errorf("deleted before %s", at)
	}
	get(t, slow)
	known.judge("withheld", knowledge.Verdict{Reason: v1alpha1.ReasonExpired})
	eventually(t, "the last is deleted, now that nobody withholds it", gone(t, slow))
	get(t, never)
	if n := e.counted(t, "nagi_pause_collected_total"); n != 3 {
		t.Errorf("%v collected", n)
	}
}

func TestDeletionAfterDisconnect(t *testing.T) {
	ns := namespace(t)
	known := newActing(t, ns)
	elect(t, plane.Config, known, ns)
	minute := int64(60)
	o := pauseIn(t, ns, "pause", func(o *v1alpha1.RtpStreamPause) { o.Spec.DeleteAfterDisconnectSeconds = &minute })
	waitReason(t, o, v1alpha1.ReasonArmed)
	left := time.Now().Add(-50 * time.Second)
	known.mu.Lock()
	known.left[o.Name] = left
	known.mu.Unlock()
	known.tell(o.Name, false)
	var got *v1alpha1.RtpStreamPause
	eventually(t, "disconnectedAt is kept", func() bool {
		got = get(t, o)

		return got.Status.DisconnectedAt != nil
	})
	if at := got.Status.DisconnectedAt.Time; at.Before(left) || at.After(left.Add(time.Second)) {
		t.Errorf("left at %s, disconnectedAt %s", left, at)
	}
	// An edit starts anew.
	got.Spec.Reason = "edited"
	if err := k8s.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	got = waitReason(t, o, v1alpha1.ReasonArmed)
	if at := got.Status.DisconnectedAt; at == nil || at.Time.Before(left.Add(40*time.Second)) {
		t.Errorf("after an edit disconnectedAt is %v", at)
	}
	second := int64(1)
	got.Spec.DeleteAfterDisconnectSeconds = &second
	if err := k8s.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	eventually(t, "deleted", gone(t, o))
}
