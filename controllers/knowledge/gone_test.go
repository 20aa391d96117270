package knowledge

import (
	"slices"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/controllers/claims"
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
