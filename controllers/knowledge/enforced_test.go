package knowledge

import (
	"errors"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
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

// A pause that is edited, and edited back before that is acknowledged, says what was
// acknowledged before, while the media server may have come to what it said in between.
func TestAnEditThatIsTakenBackIsAcknowledgedAnew(t *testing.T) {
	w := listed()
	first := w.create("u")
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	edge := &forwardingv1.EdgeName{RecvConnectionId: "R", SendConnectionId: "S"}
	acknowledge := func(o *held.Pause) {
		t.Helper()
		digest, _ := content(o)
		must(t, s.Acknowledge(&forwardingv1.Acknowledgement{
			ChannelId: "lobby", Instance: 1, Epoch: 1, Whole: true,
			Set: []*forwardingv1.PauseState{{Uid: string(o.UID), Digest: digest[:], State: matching}},
		}, start))
	}
	expect := func(what, reason string) {
		t.Helper()
		o := w.objects["u"]
		if v := w.Judge(o, start.Add(-time.Hour), start); v.Reason != reason {
			t.Errorf("%s: judged %s, want %s", what, v.Reason, reason)
		}
		for _, e := range []*forwardingv1.EdgeName{nil, edge} {
			got, err := w.Enforced(o, e, start)
			if err != nil || (got != nil) != (reason == v1alpha1.ReasonEnforced) {
				t.Errorf("%s: enforced %v, %v", what, got, err)
			}
		}
	}
	acknowledge(first)
	expect("acknowledged", v1alpha1.ReasonEnforced)
	between := w.edit("u", func(o *held.Pause) { o.Spec.Senders.ConnectionIDs = []string{"X"} })
	last := w.edit("u", func(o *held.Pause) { o.Spec.Senders = first.Spec.Senders })
	expect("edited there and back", v1alpha1.ReasonNotAcknowledged)
	acknowledge(first)
	expect("acknowledged as it was before", v1alpha1.ReasonNotAcknowledged)
	acknowledge(between)
	expect("acknowledged on the way", v1alpha1.ReasonNotAcknowledged)
	acknowledge(last)
	expect("acknowledged anew", v1alpha1.ReasonEnforced)
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
