package lifecycle

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// A pause that is new or edited is given the time that an acknowledgement takes, or
// each would be written twice; what is certain is written at once.
func TestAnAcknowledgementIsWaitedFor(t *testing.T) {
	now := time.Now()
	ready := func(generation int64, reason string) v1alpha1.RtpStreamPauseStatus {
		return v1alpha1.RtpStreamPauseStatus{
			ObservedGeneration: generation, Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: reason}},
		}
	}
	for name, test := range map[string]struct {
		status  v1alpha1.RtpStreamPauseStatus
		verdict string
		want    time.Duration // 0: written at once
	}{
		"new": {
			v1alpha1.RtpStreamPauseStatus{ObservedGeneration: -1}, v1alpha1.ReasonNotAcknowledged, acknowledgeGrace,
		},
		"new and enforced":            {v1alpha1.RtpStreamPauseStatus{ObservedGeneration: -1}, v1alpha1.ReasonEnforced, 0},
		"new and armed":               {v1alpha1.RtpStreamPauseStatus{ObservedGeneration: -1}, v1alpha1.ReasonArmed, 0},
		"edited":                      {ready(1, v1alpha1.ReasonEnforced), v1alpha1.ReasonNotAcknowledged, acknowledgeGrace},
		"edited, and in doubt before": {ready(1, v1alpha1.ReasonNotAcknowledged), v1alpha1.ReasonNotAcknowledged, 0},
		"as it was, in doubt now":     {ready(2, v1alpha1.ReasonEnforced), v1alpha1.ReasonNotAcknowledged, doubtGrace},
	} {
		t.Run(name, func(t *testing.T) {
			r := &reconciler{inOffice: now.Add(-time.Hour), doubts: map[types.NamespacedName]time.Time{}}
			object := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Name: "pause", Generation: 2}, Status: test.status}
			leave := func(after time.Duration) time.Duration {
				at := now.Add(after)
				until := r.leave(types.NamespacedName{Name: "pause"}, object, knowledge.Verdict{Reason: test.verdict}, at)
				if until.IsZero() {
					return 0
				}

				return until.Sub(now)
			}
			// Looking again does not lengthen it.
			for _, after := range []time.Duration{0, test.want / 2} {
				if got := leave(after); got != test.want {
					t.Errorf("left for %s after %s, want %s", got, after, test.want)
				}
			}
			if got := leave(test.want); got != 0 {
				t.Errorf("left for %s more", got-test.want)
			}
		})
	}
}
