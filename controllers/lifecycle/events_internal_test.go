package lifecycle

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// An event follows its status by eventDelay, and a pause that is gone by then, or
// another one by then, costs none.
func TestNoEventOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := events.NewFakeRecorder(10)
		there := map[string]types.UID{"stays": "1", "anew": "2"}
		s := &story{
			recorder: recorder, metrics: newMetrics(prometheus.NewRegistry()), untold: make(chan chapter, 3),
			limiter: map[string]flowcontrol.PassiveRateLimiter{},
			exists:  func(name types.NamespacedName, uid types.UID) bool { return there[name.Name] == uid },
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.run(ctx)
		for _, name := range []string{"gone", "stays", "anew"} {
			s.tell(&v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: "1"}},
				&v1alpha1.RtpStreamPauseStatus{Conditions: []metav1.Condition{{
					Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonArmed, Message: "about " + name,
				}}})
		}
		time.Sleep(eventDelay - time.Nanosecond)
		synctest.Wait()
		if n := len(recorder.Events); n != 0 {
			t.Errorf("%d events at once", n)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := len(recorder.Events); n != 1 {
			t.Fatalf("%d events, want the one about the pause that stays", n)
		}
		if event, want := <-recorder.Events, "Normal Armed about stays"; event != want {
			t.Errorf("told %q, want %q", event, want)
		}
	})
}
