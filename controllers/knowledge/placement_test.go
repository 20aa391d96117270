package knowledge

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/controllers/claims"
)

// Silence counts from when this process has itself listened: since it began, and since it
// was last stopped and woken.
func TestSilenceIsNotOnesOwnDeafness(t *testing.T) {
	w := listed()
	w.synced = start
	now := start
	listen := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); {
			now = now.Add(tick)
			w.pass(now)
		}
	}
	expect := func(what string, of claims.Holder, want time.Duration) {
		t.Helper()
		got := w.Silence(of, now)
		if got == 0 != (want == 0) || (got-want).Abs() > 2*tick {
			t.Errorf("%s: silent for %s, want %s", what, got, want)
		}
	}
	a, never := claims.Holder{Name: "a", PodUID: "uid"}, claims.Holder{Name: "never"}
	w.pass(now)
	expect("it has just begun", never, 1)
	listen(20 * time.Second)
	expect("never heard of", never, 20*time.Second)
	s := w.introduced(t, "a", now, func(i *Introduction) { i.PodUID = "uid" })
	expect("it streams", a, 0)
	expect("a former pod of its name", claims.Holder{Name: "a", PodUID: "former"}, 20*time.Second)
	s.Close(now)
	expect("its stream has just ended", a, 1)
	listen(25 * time.Second)
	expect("it is gone for a while", a, 25*time.Second)

	// SIGSTOP for a minute: the first to look may be a call, before the clock's own round.
	now = now.Add(time.Minute)
	expect("this process stood still", a, 1)
	expect("the same of all", never, 1)
	listen(10 * time.Second)
	expect("and goes on", a, 10*time.Second)
	now = now.Add(time.Minute)
	w.pass(now)
	expect("it stood still once more", a, 1)
	listen(30 * time.Second)
	expect("and goes on", a, 30*time.Second)
	now = now.Add(lapse - tick)
	expect("it was slow", a, 30*time.Second+lapse)

	// Farewell, and coming back.
	s = w.introduced(t, "a", now, func(i *Introduction) { i.PodUID = "uid" })
	if !w.Ended(a).IsZero() {
		t.Error("it has said no farewell")
	}
	s.Farewell(now)
	if !w.Ended(a).IsZero() {
		t.Error("its stream has not ended")
	}
	s.Close(now)
	if !w.Ended(a).Equal(now) || !w.Ended(claims.Holder{Name: "a"}).IsZero() {
		t.Errorf("ended at %s", w.Ended(a))
	}
	w.introduced(t, "a", now, func(i *Introduction) { i.PodUID = "uid" })
	if !w.Ended(a).IsZero() {
		t.Error("it is there again")
	}
}

func TestTheLeastLoadedIsChosen(t *testing.T) {
	w := listed()
	place := func(caller string, unreachable ...string) string {
		member, err := w.Place("lobby", caller, unreachable)
		if errors.Is(err, ErrNoRoom) {
			return "no room"
		}
		if errors.Is(err, ErrNotHeard) {
			return "not heard"
		}

		return member.GetName()
	}
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	expect("nobody", place("a"), "not heard")
	a := w.introduced(t, "a", start, nil)
	expect("nobody has reported everything", place("a"), "not heard")
	must(t, a.Report(reportOf("hall", 1, 1, 0, "R", "S"), start))
	must(t, a.Complete(start))
	expect("one", place("b"), "a")
	expect("the one that is not reached", place("b", "a"), "no room")
	b := w.introduced(t, "b", start, func(i *Introduction) { i.MaxChannels, i.MaxConnections = 2, 4 })
	must(t, b.Report(reportOf("room", 1, 1, 0, "X"), start))
	must(t, b.Complete(start))
	expect("the least loaded", place("a"), "b")
	w.claim("room", claims.Holder{Name: "b"}, start)
	expect("its channel is claimed", place("a"), "b")
	w.claim("new", claims.Holder{Name: "b"}, start)
	expect("another is claimed and not reported yet", place("b"), "a")
	w.claim("new", claims.Holder{}, start)
	b.Standing(true)
	expect("it drains", place("b"), "a")
	if err := w.MayOwn(claims.Holder{Name: "b"}, "lobby"); !errors.Is(err, ErrMayNotOwn) {
		t.Error(err)
	}
	b.Standing(false)
	expect("it does not drain", place("a"), "b")
	w.introduced(t, "b", start, nil)
	expect("it has not reported everything again", place("a"), "a")
	if err := w.MayOwn(claims.Holder{Name: "b"}, "lobby"); !errors.Is(err, ErrNotHeard) {
		t.Error(err)
	}
	if err := w.MayOwn(claims.Holder{Name: "a", PodUID: "former"}, "lobby"); !errors.Is(err, ErrNotHeard) {
		t.Error(err)
	}
}

// Channels that were opened without a claim are claimed though they fill their media server.
func TestWhoIsFullOwnsWhatItHosts(t *testing.T) {
	w := listed()
	a := w.introduced(t, "a", start, func(i *Introduction) { i.MaxChannels = 2 })
	must(t, a.Report(reportOf("hall", 1, 1, 0, "R"), start))
	must(t, a.Report(reportOf("room", 1, 1, 0, "S"), start))
	must(t, a.Complete(start))
	must(t, w.MayOwn(claims.Holder{Name: "a"}, "hall"))
	w.claim("hall", claims.Holder{Name: "a"}, start)
	must(t, w.MayOwn(claims.Holder{Name: "a"}, "room"))
	if err := w.MayOwn(claims.Holder{Name: "a"}, "lobby"); !errors.Is(err, ErrMayNotOwn) {
		t.Error(err)
	}
}

// Of equals each channel has its own, which all replicas choose, and which stays where the
// others come and go.
func TestTiesAreBrokenByTheChannel(t *testing.T) {
	chosen := func(names ...string) []string {
		w := listed()
		for _, name := range names {
			must(t, w.introduced(t, name, start, nil).Complete(start))
		}
		var all []string
		for i := range 300 {
			member, err := w.Place(fmt.Sprint("channel-", i), "a", nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, member.GetName())
		}

		return all
	}
	three := chosen("a", "b", "c")
	if again := chosen("c", "a", "b"); !slices.Equal(three, again) {
		t.Error("another replica chooses otherwise")
	}
	counts := map[string]int{}
	for i, name := range chosen("a", "b") {
		counts[three[i]]++
		if three[i] != "c" && three[i] != name {
			t.Errorf("channel %d goes from %s to %s though that is there", i, three[i], name)
		}
	}
	for name, n := range counts {
		if n < 60 || n > 140 {
			t.Errorf("%s has %d of 300", name, n)
		}
	}
}

// A media server whose owner reported everything uses a claim or not.
func TestUnusedClaims(t *testing.T) {
	w := newWorld(Limits{Channels: 1})
	w.list()
	a := claims.Holder{Name: "a"}
	if w.Unused(a, "lobby") {
		t.Error("of one never heard of")
	}
	s := w.introduced(t, "a", start, nil)
	if w.Unused(a, "lobby") {
		t.Error("before it has reported everything")
	}
	must(t, s.Report(reportOf("lobby", 1, 1, 0, "R"), start))
	must(t, s.Complete(start))
	if w.Unused(a, "lobby") || !w.Unused(a, "hall") || w.Unused(claims.Holder{Name: "a", PodUID: "former"}, "hall") {
		t.Error("what is hosted is unused, or what is not is used")
	}
	must(t, s.Report(reportOf("hall", 2, 1, 0, "R"), start))
	if w.Unused(a, "hall") {
		t.Error("beyond the bound nothing is known of what it hosts")
	}
	s.Close(start)
	if w.Unused(a, "garden") {
		t.Error("out of touch")
	}
}
