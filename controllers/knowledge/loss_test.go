package knowledge

import (
	"errors"
	"slices"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

// Which media servers there were outlives managers in the statuses: one that a
// status names, and of which nothing is heard, may host any channel. It is forgotten
// when it comes, says farewell, or stays away for too long.
func TestMediaServersThatStatusesNameAreOutOfTouch(t *testing.T) {
	mentioning := func(name string) func(*held.Pause) { return func(o *held.Pause) { o.Status.MediaServer = name } }
	begin := func() *world {
		w := newWorld(Limits{})
		w.list(w.pause("u"), w.pause("v", mentioning("ms")))

		return w
	}
	expect := func(t *testing.T, w *world, now time.Time, wantU, wantV string, gone bool, wantOut ...string) {
		t.Helper()
		for name, want := range map[string]string{"u": wantU, "v": wantV} {
			v := w.Judge(w.objects[name], start, now)
			if got := describe(v); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
			if name == "v" && v.Gone != gone {
				t.Errorf("the media server of %s is gone: %v", name, v.Gone)
			}
		}
		_, out := w.Hosts("lobby")
		if !slices.Equal(out, wantOut) || w.Connections("lobby", nil, nil).OutOfTouch != (len(wantOut) > 0) {
			t.Errorf("out of touch are %v, want %v", out, wantOut)
		}
	}
	soon := start.Add(time.Minute)

	w := begin()
	expect(t, w, soon, "MediaServerLost lost ms", "MediaServerLost lost ms", false, "ms")
	w.told()
	s := w.stream(t, "ms", soon)
	expect(t, w, soon, "Armed", "Armed", false)
	if told := w.told(); !slices.Equal(told, []string{"u", "v"}) {
		t.Errorf("its coming tells of %v", told)
	}
	s.Farewell(soon)
	s.Close(soon)
	expect(t, w, soon, "Armed", "Armed", true)
	if told := w.told(); !slices.Contains(told, "v") {
		t.Errorf("its farewell tells of %v", told)
	}

	w = begin()
	w.told()
	w.pass(w.synced.Add(11 * time.Minute))
	expect(t, w, start.Add(10*time.Minute), "Armed", "Armed", true)
	if told := w.told(); !slices.Contains(told, "v") {
		t.Errorf("its being given up tells of %v", told)
	}

	w = begin()
	w.edit("v", mentioning(""))
	expect(t, w, soon, "Armed", "Armed", false)
}

// One that was turned away goes on without tables, and nobody knows what it hosts.
func TestAMediaServerThatIsTurnedAwayIsOutOfTouch(t *testing.T) {
	w := newWorld(Limits{MediaServers: 1})
	w.list(w.pause("u"))
	w.stream(t, "a", start)
	w.told()
	if _, err := w.Connect(Introduction{Name: "b", Incarnation: "incarnation"}, start); !errors.Is(err, ErrTooMany) {
		t.Fatal(err)
	}
	if got := describe(w.Judge(w.objects["u"], start.Add(-time.Hour), start)); got != "MediaServerLost lost b" {
		t.Errorf("judged %q", got)
	}
	if _, out := w.Hosts("lobby"); !slices.Equal(out, []string{"b"}) || !w.Connections("lobby", nil, nil).OutOfTouch {
		t.Errorf("out of touch are %v", out)
	}
	if told := w.told(); !slices.Contains(told, "u") {
		t.Errorf("told of %v", told)
	}
	w.pass(start.Add(10 * time.Minute))
	if got := describe(w.Judge(w.objects["u"], start.Add(-time.Hour), start.Add(10*time.Minute))); got != "Armed" {
		t.Errorf("ten minutes later judged %q", got)
	}
	if told := w.told(); !slices.Contains(told, "u") {
		t.Errorf("its being forgotten tells of %v", told)
	}
}

// The order of the two times is production's: out of touch for some seconds, and
// given up after ten minutes.
func TestReconnectedMediaServerIsOutOfTouchUntilItReports(t *testing.T) {
	w := listed()
	w.create("u")
	now := start
	expect := func(what, want string) {
		t.Helper()
		if got := describe(w.Judge(w.objects["u"], start.Add(-time.Hour), now)); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	first := w.stream(t, "ms", now, reportOf("lobby", 1, 1, 0, "R", "S"))
	expect("reported", "NotAcknowledged waiting ms")
	w.acknowledge(t, first, "lobby", 1, 1, now, map[string]forwardingv1.State{"u": matching})
	expect("acknowledged", "Enforced matching ms")
	now = now.Add(time.Minute)
	first.Close(now)
	expect("lost", "MediaServerLost lost ms")
	now = now.Add(2 * time.Minute)
	second := w.connect(t, "ms", "first", now)
	expect("said its name", "MediaServerLost lost ms")
	must(t, second.Report(reportOf("lobby", 1, 1, 0, "R", "S"), now))
	expect("reported again", "Enforced matching ms")
	must(t, second.Complete(now))

	third := w.connect(t, "ms", "first", now)
	select {
	case <-second.Replaced():
	default:
		t.Error("the older stream is not replaced")
	}
	expect("replaced", "MediaServerLost lost ms")
	must(t, second.Report(reportOf("lobby", 1, 2, 0), now))
	second.Close(now)
	expect("the replaced stream's last words", "MediaServerLost lost ms")
	now = now.Add(9 * time.Minute)
	w.pass(now)
	expect("out of touch for 9 min", "MediaServerLost lost ms")
	if w.Streaming() != 1 || w.Connections("lobby", nil, nil).Connections[0].OutOfTouch != true {
		t.Error("its connections are not told as out of touch")
	}
	now = now.Add(time.Minute)
	w.pass(now)
	expect("never reported again", "Armed")
	if len(w.Connections("lobby", nil, nil).Connections) != 0 || w.departed.at["S"].IsZero() {
		t.Error("a media server that only says its name keeps what it hosted before")
	}
	must(t, third.Report(reportOf("lobby", 1, 1, 0, "R", "S"), now))
	expect("reported late", "NotAcknowledged waiting ms")
}
