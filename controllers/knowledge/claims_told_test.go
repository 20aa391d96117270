package knowledge

import (
	"slices"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/claims"
)

// Whoever watches is told when claims, or who is in touch, change what a pause is.
func TestWatchersAreToldWhatClaimsChange(t *testing.T) {
	w := listed()
	w.create("mine")
	w.create("other", inChannel("hall"))
	a := w.introduced(t, "a", start, nil)
	must(t, a.Complete(start))
	b := w.introduced(t, "b", start, func(i *Introduction) { i.ServesWithoutClaim = true })
	must(t, b.Complete(start))
	w.claimsOf(map[string]claims.Holder{"lobby": {Name: "a"}})
	judge := func(want string, now time.Time) {
		t.Helper()
		if got := describe(w.Judge(w.objects["mine"], start.Add(-time.Hour), now)); got != want {
			t.Errorf("judged %q, want %q", got, want)
		}
		w.Judge(w.objects["other"], start.Add(-time.Hour), now)
	}
	tells := func(what string, want ...string) {
		t.Helper()
		if told := w.told(); !slices.Equal(told, want) {
			t.Errorf("%s tells of %v, want %v", what, told, want)
		}
	}
	now := start.Add(time.Minute)
	w.told()
	a.Close(now)
	now = now.Add(LossGrace)
	w.pass(now)
	tells("the owner's loss", "mine")
	judge("MediaServerLost lost a", now)
	w.claim("lobby", claims.Holder{}, now)
	tells("the end of its claim", "mine")
	judge("Armed", now)
	w.claim("lobby", claims.Holder{Name: "a"}, now)
	tells("its claim", "mine")
	judge("MediaServerLost lost a", now)
	w.claim("lobby", claims.Holder{Name: "b"}, now)
	tells("its passing on", "mine")
	judge("MediaServerLost lost a", now) // Who had it may host it, wherever it is.
	w.claim("lobby", claims.Holder{Name: "a"}, now)
	judge("MediaServerLost lost a", now)
	w.told()
	b.Close(now)
	now = now.Add(LossGrace)
	w.pass(now)
	tells("the loss of one that serves without", "mine", "other")
	judge("MediaServerLost lost a,b", now)
	b = w.introduced(t, "b", now, nil)
	must(t, b.Complete(now))
	w.told()
	a = w.introduced(t, "a", now, nil)
	must(t, a.Complete(now))
	tells("the owner's coming back", "mine", "other") // Nobody is out of touch any more.
	judge("Armed", now)
	w.told()

	// The owner comes back while another is out of touch.
	a.Close(now)
	b.Close(now)
	now = now.Add(LossGrace)
	w.pass(now)
	tells("their loss", "mine")
	judge("MediaServerLost lost a", now)
	a = w.introduced(t, "a", now, nil)
	must(t, a.Complete(now))
	tells("the owner's coming back alone", "mine")
	judge("Armed", now)

	// So does one that owned it, and whose claim has passed on meanwhile.
	a.Close(now)
	now = now.Add(LossGrace)
	w.pass(now)
	w.claim("lobby", claims.Holder{Name: "c"}, now)
	c := w.introduced(t, "c", now, nil)
	must(t, c.Complete(now))
	judge("MediaServerLost lost a", now)
	w.told()
	a = w.introduced(t, "a", now, nil)
	must(t, a.Complete(now))
	tells("the former owner's coming back", "mine")
	judge("Armed", now)
	if former := w.claims.former; len(former.channels)+len(former.owned) > 0 {
		t.Errorf("remembers %v", former)
	}
	w.claim("lobby", claims.Holder{Name: "a"}, now)
	w.told()
	w.claimsKnown(false)
	tells("claims that are not known any more", "mine", "other")
	judge("MediaServerLost lost b", now)
	w.claimsKnown(true)
	tells("claims that are known again", "mine", "other")
	judge("Armed", now)
}

// Who reports a channel that is not its own is told, after a while, slowly, and no longer
// than it is so.
func TestAMediaServerIsToldOfChannelsThatAreNotItsOwn(t *testing.T) {
	w := listed()
	s := w.introduced(t, "a", start, nil)
	must(t, s.Report(reportOf("mine", 1, 1, 0, "R"), start))
	must(t, s.Report(reportOf("unclaimed", 2, 1, 0, "R"), start))
	must(t, s.Complete(start))
	now := start
	hears := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, o := range drain(s) {
			if o.Unclaimed != nil {
				got = append(got, o.Unclaimed.GetChannelId())
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: told of %v, want %v", what, got, want)
		}
	}
	after := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); {
			now = now.Add(tick)
			w.pass(now)
		}
	}
	after(time.Minute)
	hears("claims are not known")
	w.claimsOf(map[string]claims.Holder{"mine": {Name: "a"}})
	after(claimGrace)
	hears("they are known", "unclaimed")
	after(unclaimedEvery - claimGrace)
	hears("soon after")
	after(claimLag + 2*claimGrace)
	hears("later", "unclaimed")
	w.claim("unclaimed", claims.Holder{Name: "a"}, now)
	after(time.Minute)
	hears("it has claimed it")
	w.claim("mine", claims.Holder{Name: "b"}, now)
	after(claimGrace / 2)
	hears("it has passed on just now")
	after(claimGrace)
	hears("it has passed on", "mine")
	w.claim("mine", claims.Holder{Name: "a", PodUID: "former"}, now)
	after(2 * claimGrace)
	hears("it is a former pod's", "mine")
	must(t, s.Report(reportOf("new", 3, 1, 0, "R"), now))
	after(claimLag)
	w.claim("new", claims.Holder{Name: "a"}, now)
	after(2 * claimGrace)
	hears("the claim is heard of long after the report")
	s.askAgain("mine")
	after(time.Minute)
	for _, o := range drain(s) {
		if o.Unclaimed != nil {
			t.Error("what waits to be said of the channel is replaced")
		}
	}
	w.claimsKnown(false)
	after(time.Minute)
	hears("claims are not known any more")
	w.claimsKnown(true)
	after(time.Second)
	hears("they are known again", "mine")
	must(t, s.Report(&forwardingv1.ChannelReport{ChannelId: "mine", Instance: 1, Closed: true}, now))
	after(time.Minute)
	hears("the channel has ended")
	if len(w.claims.doubts) != 0 {
		t.Errorf("%d doubts are left", len(w.claims.doubts))
	}
}
