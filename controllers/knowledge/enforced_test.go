package knowledge

import (
	"errors"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// What was acknowledged on an earlier stream tells nobody that the pause is
// enforced now: the media server may have followed another replica since.
func TestEnforcedIsWhatThePresentStreamAcknowledges(t *testing.T) {
	w := listed()
	o := w.create("u")
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	w.acknowledge(t, s, "lobby", 1, 1, start, map[string]forwardingv1.State{"u": matching})
	edge := &forwardingv1.EdgeName{RecvConnectionId: "R", SendConnectionId: "S"}
	expect := func(what string, want bool) {
		t.Helper()
		for _, e := range []*forwardingv1.EdgeName{nil, edge} {
			if got, err := w.Enforced(o, e, start); err != nil || (got != nil) != want {
				t.Errorf("%s: enforced %v, %v, want %t", what, got, err, want)
			}
		}
	}
	expect("acknowledged", true)
	s = w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	expect("on the stream before", false)
	// The judgement is no promise to anybody who waits, and stays.
	if v := w.Judge(o, start.Add(-time.Hour), start); v.Reason != v1alpha1.ReasonEnforced {
		t.Errorf("judged %s", v.Reason)
	}
	w.acknowledge(t, s, "lobby", 1, 1, start, map[string]forwardingv1.State{"u": matching})
	expect("again", true)
}

func TestAnEdgeIsNotEnforcedByAMediaServerThatSaysExpired(t *testing.T) {
	w := listed()
	o := w.create("u", expiring(start.Add(time.Second)))
	s := w.stream(t, "fast", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	w.acknowledge(t, s, "lobby", 1, 1, start, map[string]forwardingv1.State{"u": expired})
	s = w.stream(t, "slow", start, reportOf("lobby", 1, 1, 0, "X"))
	w.acknowledge(t, s, "lobby", 1, 1, start, map[string]forwardingv1.State{"u": notMatching})
	got, err := w.Enforced(o, &forwardingv1.EdgeName{RecvConnectionId: "R", SendConnectionId: "S"}, start)
	if got != nil || !errors.Is(err, ErrCannotAct) {
		t.Errorf("enforced %v, %v", got, err)
	}
}
