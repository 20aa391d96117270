package knowledge

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

func collected(o *held.Pause) { o.Spec.DeleteAfterDisconnectSeconds = new(int64) }

func receivers(ids ...string) func(*held.Pause) {
	return func(o *held.Pause) { o.Spec.Receivers = held.Side{ConnectionIDs: ids} }
}

func everySender(o *held.Pause) {
	o.Spec.Senders = held.Side{Others: &held.Others{Everyone: &v1alpha1.Everyone{}}}
}

func left(epoch uint64, ids ...string) *forwardingv1.ChannelReport {
	return &forwardingv1.ChannelReport{ChannelId: "lobby", Instance: 1, Epoch: epoch, BaseEpoch: epoch - 1, Left: ids}
}

// after is the departure in seconds after start; -1: none.
func (w *world) after(t *testing.T, name string, now time.Time) float64 {
	t.Helper()
	at, again := w.Departure(w.objects[name], start, now)
	if at.IsZero() {
		return -1
	}
	if !again.IsZero() {
		t.Errorf("left at %s, and to be asked again at %s", at, again)
	}

	return at.Sub(start).Seconds()
}

func (w *world) expectAfter(t *testing.T, what, name string, now time.Time, want float64) {
	t.Helper()
	if got := w.after(t, name, now); got != want {
		t.Errorf("%s: departed after %v s, want %v", what, got, want)
	}
}

func TestASideHasDepartedWhenAllOfItsConnectionsHave(t *testing.T) {
	w := newWorld(Limits{})
	w.list(w.pause("both", collected), w.pause("two", collected, receivers("R", "Q"), everySender),
		w.pause("unseen", collected, receivers("R", "never"), everySender))
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S", "Q"))
	w.told()
	for _, name := range []string{"both", "two", "unseen"} {
		w.expectAfter(t, "all are there", name, at(1), -1)
	}
	must(t, s.Report(left(2, "R"), at(10)))
	if told := w.told(); !slices.Equal(told, []string{"both", "two", "unseen"}) {
		t.Errorf("told of %v", told)
	}
	w.expectAfter(t, "one side has left", "both", at(11), 10)
	w.expectAfter(t, "one of two has left", "two", at(11), -1)
	must(t, s.Report(left(3, "Q"), at(20)))
	if told := w.told(); !slices.Equal(told, []string{"two"}) {
		t.Errorf("told of %v", told)
	}
	w.expectAfter(t, "two have left", "two", at(21), 20)
	w.expectAfter(t, "one was never seen", "unseen", at(21), -1)
	must(t, s.Report(left(4, "S"), at(30)))
	w.expectAfter(t, "both sides have left: the first counts", "both", at(31), 10)
	s.Close(at(40))
	w.expectAfter(t, "the media server is lost", "both", at(41), 10)
}

func TestSilenceIsNoDepartureUntilTheMediaServerIsGivenUp(t *testing.T) {
	w := newWorld(Limits{})
	w.list(w.pause("u", collected))
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	lost := start.Add(time.Minute)
	s.Close(lost)
	w.pass(lost.Add(9 * time.Minute))
	w.expectAfter(t, "lost for 9 min", "u", lost.Add(9*time.Minute), -1)
	w.told()
	w.pass(lost.Add(10 * time.Minute))
	w.expectAfter(t, "given up", "u", lost.Add(10*time.Minute), 660)
	if told := w.told(); !slices.Equal(told, []string{"u"}) {
		t.Errorf("told of %v", told)
	}
	// It comes back, and so do they.
	w.stream(t, "ms", lost.Add(11*time.Minute), reportOf("lobby", 1, 1, 0, "R", "S"))
	w.expectAfter(t, "back again", "u", lost.Add(11*time.Minute), -1)
}

func TestAnEditStartsAnew(t *testing.T) {
	w := newWorld(Limits{})
	w.list(w.pause("u", collected, receivers("R"), everySender))
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	must(t, s.Report(left(2, "R"), start.Add(10*time.Second)))
	w.expectAfter(t, "left", "u", start, 10)
	w.change("u", func(o *held.Pause) {
		o.Status.ObservedGeneration, o.Status.DisconnectedAt = 1, &metav1.Time{Time: start.Add(10 * time.Second)}
	})
	w.expectAfter(t, "kept in the status", "u", start, 10)
	before := time.Now()
	w.edit("u", func(o *held.Pause) { o.Spec.Reason = "another" })
	if at, _ := w.Departure(w.objects["u"], start, start); at.Before(before) {
		t.Errorf("after an edit it counts from %s", at)
	}
	w.edit("u", receivers("never"))
	w.expectAfter(t, "another connection", "u", start, -1)
}

func TestTheClockSurvivesAChangeOfLeader(t *testing.T) {
	kept := func(generation int64) func(*held.Pause) {
		return func(o *held.Pause) {
			o.Generation, o.Status.ObservedGeneration, o.Status.DisconnectedAt = 3, generation,
				&metav1.Time{Time: start.Add(-30 * time.Second)}
		}
	}
	w := newWorld(Limits{})
	w.list(w.pause("kept", collected, kept(3)), w.pause("edited", collected, kept(2)))
	w.expectAfter(t, "known from the status alone", "kept", start, -30)
	w.expectAfter(t, "of former content", "edited", start, -1)
	// What this replica saw later does not put the clock back.
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "X", "R"))
	w.expectAfter(t, "back, as far as this replica can tell", "kept", start, -30)
	w.change("kept", func(o *held.Pause) {
		o.Spec.Senders = held.Side{Others: &held.Others{Everyone: &v1alpha1.Everyone{}}}
	})
	w.expectAfter(t, "there", "kept", start, -1)
	must(t, s.Report(left(2, "R"), start.Add(time.Minute)))
	w.expectAfter(t, "left again", "kept", start.Add(time.Minute), -30)
}

func TestWhoLeftWhileNoManagerListened(t *testing.T) {
	seen := func(o *held.Pause) {
		o.Status.ObservedGeneration, o.Status.EnforcedGeneration, o.Status.MediaServer = 1, 1, "ms"
	}
	// Its media server withheld what the pause named before an edit.
	edited := func(o *held.Pause) { o.Generation, o.Status.ObservedGeneration = 2, 2 }
	w := newWorld(Limits{})
	w.list(w.pause("u", collected, seen, receivers("R"), everySender),
		w.pause("two", collected, seen, receivers("R", "Q"), everySender),
		w.pause("edited", collected, seen, edited, receivers("R"), everySender))
	at, again := w.Departure(w.objects["u"], start, start.Add(time.Minute))
	if !at.IsZero() || !again.Equal(start.Add(10*time.Minute)) {
		t.Errorf("before its media server is heard of: left %s, again %s", at, again)
	}
	w.expectAfter(t, "never heard of", "u", start.Add(10*time.Minute), 600)
	w.told()
	w.stream(t, "ms", start.Add(2*time.Minute))
	if told := w.told(); !slices.Contains(told, "u") {
		t.Errorf("its complete report tells of %v", told)
	}
	w.expectAfter(t, "missing in its complete report", "u", start.Add(3*time.Minute), 120)
	w.expectAfter(t, "which of several was seen is not known", "two", start.Add(3*time.Minute), -1)
	w.expectAfter(t, "never seen under this content", "edited", start.Add(3*time.Minute), -1)
}

// Of a channel of which nothing is taken nobody is known: who was there counts as
// there, or the pause would be deleted under a stream that flows.
func TestNobodyHasLeftAChannelThatIsRefused(t *testing.T) {
	seen := func(o *held.Pause) {
		o.Status.ObservedGeneration, o.Status.EnforcedGeneration, o.Status.MediaServer = 1, 1, "ms"
	}
	for name, x := range map[string]struct {
		limits  Limits
		reports []*forwardingv1.ChannelReport
	}{
		"too many connections": {Limits{Connections: 2},
			[]*forwardingv1.ChannelReport{reportOf("lobby", 1, 1, 0, "R", "S"), reportOf("lobby", 1, 2, 1, "T")}},
		"too many connections at first": {
			Limits{Connections: 2}, []*forwardingv1.ChannelReport{reportOf("lobby", 1, 1, 0, "R", "S", "T")},
		},
		"too many channels": {Limits{Channels: 1},
			[]*forwardingv1.ChannelReport{reportOf("hall", 1, 1, 0, "X"), reportOf("lobby", 2, 1, 0, "R", "S")}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(x.limits)
			w.list(w.pause("u", collected, seen))
			w.stream(t, "ms", start, x.reports...)
			w.expectAfter(t, "refused", "u", start.Add(time.Minute), -1)
		})
	}
}

func TestNamesRememberedAreBounded(t *testing.T) {
	n := newNames(3)
	for i, name := range []string{"a", "b", "a", "c", "d"} {
		n.note(name, start.Add(time.Duration(i)*time.Second))
	}
	if _, still := n.at["b"]; still || len(n.at) != 3 {
		t.Errorf("remembered are %v", n.at)
	}
	for range 100 {
		n.note("d", start.Add(time.Minute))
		n.remove("d")
	}
	if len(n.order) > 6 {
		t.Errorf("%d places for 3 names", len(n.order))
	}
	n.forget(start.Add(time.Hour))
	if len(n.at)+len(n.order) != 0 {
		t.Errorf("not forgotten: %v", n.at)
	}
}
