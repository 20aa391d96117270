package knowledge

import (
	"slices"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/controllers/claims"
	"github.com/nagi-rtc/nagi/controllers/held"
)

// A media server that is out of touch, and one whose claim has passed on meanwhile, may host
// the channel still: until its pod is known to be gone, which ends that at once.
func TestAPodThatIsGoneHostsNothing(t *testing.T) {
	pod := func(i *Introduction) { i.PodUID = "pod of " + i.Name }
	of := func(name string) claims.Holder { return claims.Holder{Name: name, PodUID: "pod of " + name} }
	w := listed()
	w.create("mine")
	a, b := w.introduced(t, "a", start, pod), w.introduced(t, "b", start, pod)
	must(t, a.Report(reportOf("lobby", 1, 1, 0, "R", "S"), start))
	must(t, a.Complete(start))
	must(t, b.Complete(start))
	w.claimsOf(map[string]claims.Holder{"lobby": of("a")})
	judge := func(when, want string) {
		t.Helper()
		if got := describe(w.Judge(w.objects["mine"], start.Add(-time.Hour), start.Add(time.Minute))); got != want {
			t.Errorf("%s it is judged %q, want %q", when, got, want)
		}
	}
	a.Close(start)
	w.claim("lobby", of("b"), start.Add(time.Second))
	w.pass(start.Add(time.Minute))
	judge("as it passes on", "MediaServerLost lost a")
	if out := w.OutOfTouch(); !slices.Equal(out, []claims.Holder{of("a")}) {
		t.Errorf("%v are out of touch", out)
	}
	w.PodGone(of("b"), start.Add(time.Minute)) // It is heard.
	w.PodGone(claims.Holder{Name: "a", PodUID: "another"}, start.Add(time.Minute))
	judge("another pod of its name gone", "MediaServerLost lost a")
	w.told()
	w.PodGone(of("a"), start.Add(time.Minute))
	if got := w.told(); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("tells of %v", got)
	}
	judge("its pod gone", "Armed")
	if out := w.OutOfTouch(); len(out) > 0 {
		t.Errorf("%v are out of touch", out)
	}

	// One that was never heard here.
	w.claim("lobby", of("ghost"), start)
	w.claim("lobby", of("b"), start.Add(time.Second))
	judge("as it passes on", "MediaServerLost lost ghost")
	w.PodGone(of("ghost"), start.Add(time.Minute))
	judge("its pod gone", "Armed")

	// Its name comes again, and owns the channel before it is heard here.
	anew := claims.Holder{Name: "a", PodUID: "newer"}
	w.claim("lobby", anew, start.Add(2*time.Second))
	judge("owned by another pod of the name", "MediaServerLost lost a")
}

// A pod that is gone says nothing of the one that came in its place, which may own a channel
// before the end of the other's stream has been noticed here, and be heard elsewhere alone.
func TestAPodThatIsGoneIsNotTheNextOne(t *testing.T) {
	pod := func(i *Introduction) { i.PodUID = "older" }
	older, newer := claims.Holder{Name: "a", PodUID: "older"}, claims.Holder{Name: "a", PodUID: "newer"}
	for how, gone := range map[string]func(w *world){
		"gone":     func(w *world) { w.PodGone(older, start.Add(time.Minute)) },
		"given up": func(w *world) { w.pass(start.Add(11 * time.Minute)) },
	} {
		w := listed()
		w.create("mine")
		a := w.introduced(t, "a", start, pod)
		must(t, a.Complete(start))
		w.claimsOf(nil)
		w.claim("lobby", newer, start.Add(2*time.Second))
		a.Close(start.Add(3 * time.Second))
		if how == "given up" {
			w.claim("lobby", newer, start.Add(10*time.Minute))
		}
		gone(w)
		now := start.Add(5 * time.Minute)
		if how == "given up" {
			now = start.Add(12 * time.Minute)
		}
		if got := describe(w.Judge(w.objects["mine"], start.Add(-time.Hour), now)); got != "MediaServerLost lost a" {
			t.Errorf("%s, it is judged %q", how, got)
		}
		w.claim("lobby", claims.Holder{}, start.Add(2*time.Second))
		w.claim("lobby", older, start.Add(2*time.Second))
		if got := describe(w.Judge(w.objects["mine"], start.Add(-time.Hour), now)); got != "Armed" {
			t.Errorf("%s, its own is judged %q", how, got)
		}
	}
}

// Another pod of its name lives in a pod's place, also once that one has ended.
func TestAPodInAnothersPlaceEnds(t *testing.T) {
	of := func(uid string) func(*Introduction) { return func(i *Introduction) { i.PodUID = uid } }
	w := listed()
	w.create("mine")
	older := w.introduced(t, "a", start, of("older"))
	must(t, older.Complete(start))
	w.claimsOf(nil)
	w.claim("lobby", claims.Holder{Name: "a", PodUID: "older"}, start)
	older.Close(start)
	judge := func(when, want string) {
		t.Helper()
		if got := describe(w.Judge(w.objects["mine"], start.Add(-time.Hour), start.Add(time.Minute))); got != want {
			t.Errorf("%s it is judged %q, want %q", when, got, want)
		}
	}
	judge("as it is lost", "MediaServerLost lost a")
	newer := w.introduced(t, "a", start.Add(time.Second), of("newer"))
	must(t, newer.Complete(start.Add(time.Second)))
	judge("as another is in its place", "Armed")
	newer.Farewell(start.Add(2 * time.Second))
	newer.Close(start.Add(2 * time.Second))
	judge("as that has ended", "Armed")
}

// Of a media server that a status names, and of which a manager that has been restarted has
// heard nothing, it is known as well that no pod of its name lives.
func TestAPodThatAStatusNamesIsGone(t *testing.T) {
	w := listed()
	w.create("mine")
	w.create("theirs", inChannel("hall"), func(o *held.Pause) { o.Status.MediaServer = "ghost" })
	w.claimsOf(nil)
	judge := func(when, want string, gone bool) {
		t.Helper()
		w.told()
		verdict := w.Judge(w.objects["mine"], start.Add(-time.Minute), start.Add(time.Minute))
		if got := describe(verdict); got != want {
			t.Errorf("%s it is judged %q, want %q", when, got, want)
		}
		if w.Judge(w.objects["theirs"], start.Add(-time.Minute), start.Add(time.Minute)).Gone != gone {
			t.Errorf("%s whom the status names is gone: %t", when, !gone)
		}
	}
	judge("at first", "MediaServerLost lost ghost", false)
	ghost := claims.Holder{Name: "ghost"}
	if out := w.OutOfTouch(); !slices.Equal(out, []claims.Holder{ghost}) {
		t.Errorf("%v are out of touch", out)
	}
	w.PodGone(claims.Holder{Name: "mine"}, start) // Nobody knows it.
	judge("another gone", "MediaServerLost lost ghost", false)
	w.PodGone(ghost, start)
	if told := w.told(); !slices.Contains(told, "mine") || !slices.Contains(told, "theirs") {
		t.Errorf("tells of %v", told)
	}
	judge("gone", "Armed", true)
	// It is heard in between: whoever says it is behind.
	must(t, w.introduced(t, "ghost", start, nil).Complete(start))
	w.PodGone(ghost, start)
	judge("heard", "Armed", false)
}
