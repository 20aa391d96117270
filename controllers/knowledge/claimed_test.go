package knowledge

import (
	"slices"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/claims"
)

// claimsOf has the channels be owned, and all claims be known.
func (w *world) claimsOf(owners map[string]claims.Holder) {
	for channelID, owner := range owners {
		w.claim(channelID, owner, start.Add(-time.Hour))
	}
	w.claimsKnown(true)
}

// introduced connects a media server that says of itself what change adds.
func (w *world) introduced(t testing.TB, name string, now time.Time, change func(*Introduction)) *Session {
	t.Helper()
	introduction := Introduction{Name: name, Incarnation: "first", PeerAddress: name + ":7440"}
	if change != nil {
		change(&introduction)
	}
	s, err := w.Connect(introduction, now)
	if err != nil {
		t.Fatal(err)
	}

	return s
}

// What may host a channel follows from claims where they are known, and from nothing but
// presence where they are not.
func TestVerdictsByClaims(t *testing.T) {
	const long = 30 * time.Minute
	without := func(i *Introduction) { i.ServesWithoutClaim = true }
	ofPod := func(i *Introduction) { i.PodUID = "pod" }
	type server struct {
		introduce func(*Introduction)
		hosts     bool
		lost      time.Duration // since so long; 0: in touch
		joining   bool          // it has not reported everything
		// acknowledges: it hosts the channel, and withholds an edge.
		acknowledges bool
	}
	for name, x := range map[string]struct {
		servers map[string]server
		owner   claims.Holder // zero: nobody
		unknown bool          // the claims are not known to be all
		office  time.Duration
		edit    bool // a status names a media server that nothing is heard of
		anew    bool // it has come to own it just now
		former  claims.Holder
		want    string
	}{
		"nobody owns it, one is out of touch": {servers: map[string]server{"a": {lost: time.Minute}}, want: "Armed"},
		"the same, and claims are not known": {
			servers: map[string]server{"a": {lost: time.Minute}}, unknown: true, want: "MediaServerLost lost a",
		},
		"the one out of touch serves without claim": {
			servers: map[string]server{"a": {lost: time.Minute, introduce: without}, "b": {lost: time.Minute}},
			want:    "MediaServerLost lost a",
		},
		"the same, given up": {
			servers: map[string]server{"a": {lost: 11 * time.Minute, introduce: without}}, want: "Armed",
		},
		"one that serves without claim is in touch": {
			servers: map[string]server{"a": {introduce: without}, "b": {lost: time.Minute}}, want: "Armed",
		},
		"the owner is out of touch": {
			servers: map[string]server{"a": {lost: time.Minute}, "b": {}},
			owner:   claims.Holder{Name: "a"},
			want:    "MediaServerLost lost a",
		},
		"the owner is out of touch, claims not known": {
			servers: map[string]server{"a": {lost: time.Minute}, "b": {}},
			owner:   claims.Holder{Name: "a"},
			unknown: true,
			want:    "MediaServerLost lost a",
		},
		"the owner is in touch": {
			servers: map[string]server{"a": {}, "b": {lost: time.Minute}}, owner: claims.Holder{Name: "a"}, want: "Armed",
		},
		"the owner is in touch and hosts": {
			servers: map[string]server{"a": {hosts: true}, "b": {lost: time.Minute}},
			owner:   claims.Holder{Name: "a"},
			want:    "NotAcknowledged waiting a",
		},
		"the owner has not reported everything": {
			servers: map[string]server{"a": {joining: true}}, owner: claims.Holder{Name: "a"}, want: "MediaServerLost lost a",
		},
		"one that is no owner has not reported all": {servers: map[string]server{"a": {joining: true}}, want: "Armed"},
		"the owner has never been heard of":         {owner: claims.Holder{Name: "a"}, want: "MediaServerLost lost a"},
		"the same, for long": {
			owner: claims.Holder{Name: "a"}, office: 10 * time.Minute, want: "Armed",
		},
		"the owner was given up": {
			servers: map[string]server{"a": {lost: 11 * time.Minute}}, owner: claims.Holder{Name: "a"}, want: "Armed",
		},
		"another pod has the owner's name": {
			servers: map[string]server{"a": {lost: time.Minute, introduce: ofPod}},
			owner:   claims.Holder{Name: "a", PodUID: "former"},
			want:    "Armed",
		},
		"the owner is that pod": {
			servers: map[string]server{"a": {lost: time.Minute, introduce: ofPod}},
			owner:   claims.Holder{Name: "a", PodUID: "pod"},
			want:    "MediaServerLost lost a",
		},
		"another pod had the owner's name before": {
			servers: map[string]server{"a": {lost: time.Minute}},
			owner:   claims.Holder{Name: "a", PodUID: "newer"},
			anew:    true,
			want:    "MediaServerLost lost a",
		},
		"the owner was given up, and has come to own it": {
			servers: map[string]server{"a": {lost: 11 * time.Minute}},
			owner:   claims.Holder{Name: "a"},
			anew:    true,
			want:    "MediaServerLost lost a",
		},
		"another owned it, who is out of touch": {
			servers: map[string]server{"a": {lost: time.Minute}, "b": {}},
			former:  claims.Holder{Name: "a"},
			owner:   claims.Holder{Name: "b"},
			want:    "MediaServerLost lost a",
		},
		"the same, and who owns it hosts it": {
			servers: map[string]server{"a": {lost: time.Minute}, "b": {acknowledges: true}},
			former:  claims.Holder{Name: "a"},
			owner:   claims.Holder{Name: "b"},
			want:    "MediaServerLost matching b lost a",
		},
		"another owned it, who hosted it too": {
			servers: map[string]server{"a": {lost: time.Minute, hosts: true}, "b": {acknowledges: true}},
			former:  claims.Holder{Name: "a"},
			owner:   claims.Holder{Name: "b"},
			want:    "MediaServerLost matching b lost a",
		},
		"another owned it, who is in touch": {
			servers: map[string]server{"a": {}, "b": {acknowledges: true}},
			former:  claims.Holder{Name: "a"},
			owner:   claims.Holder{Name: "b"},
			want:    "Enforced matching b",
		},
		"another owned it, who was given up": {
			servers: map[string]server{"a": {lost: 11 * time.Minute}, "b": {}},
			former:  claims.Holder{Name: "a"},
			owner:   claims.Holder{Name: "b"},
			want:    "Armed",
		},
		"another owned it, who was never heard of": {
			servers: map[string]server{"b": {}},
			former:  claims.Holder{Name: "a"},
			owner:   claims.Holder{Name: "b"},
			want:    "MediaServerLost lost a",
		},
		"another owned it, and gave it up": {
			servers: map[string]server{"a": {lost: time.Minute}}, former: claims.Holder{Name: "a"}, want: "Armed",
		},
		"one that hosted it is out of touch, another owns": {
			servers: map[string]server{"a": {lost: time.Minute, hosts: true}, "b": {}},
			owner:   claims.Holder{Name: "b"},
			want:    "MediaServerLost lost a",
		},
		"one that hosted it is out of touch, and nobody owns": {
			servers: map[string]server{"a": {lost: time.Minute, hosts: true}}, want: "MediaServerLost lost a",
		},
		"a status names one that nothing is heard of": {edit: true, want: "MediaServerLost lost ghost"},
		"the owner is out of touch, another hosts it": {
			servers: map[string]server{"a": {lost: time.Minute}, "b": {acknowledges: true}},
			owner:   claims.Holder{Name: "a"},
			want:    "MediaServerLost matching b lost a",
		},
		"the owner was never heard of, another hosts it": {
			servers: map[string]server{"b": {acknowledges: true}},
			owner:   claims.Holder{Name: "a"},
			want:    "MediaServerLost matching b lost a",
		},
		"the owner was given up, another hosts it": {
			servers: map[string]server{"a": {lost: 11 * time.Minute}, "b": {acknowledges: true}},
			owner:   claims.Holder{Name: "a"},
			want:    "Enforced matching b",
		},
		"the owner is in touch, another hosts it": {
			servers: map[string]server{"a": {}, "b": {acknowledges: true}},
			owner:   claims.Holder{Name: "a"},
			want:    "Enforced matching b",
		},
		"nobody, new in office": {office: 2 * time.Second, want: "Starting"},
	} {
		t.Run(name, func(t *testing.T) {
			w := listed()
			w.create("u")
			for name, x := range x.servers {
				s := w.introduced(t, name, start.Add(-long), x.introduce)
				if x.hosts || x.acknowledges {
					must(t, s.Report(reportOf("lobby", 1, 1, 0, "R", "S"), start.Add(-long)))
				}
				if !x.joining {
					must(t, s.Complete(start.Add(-long)))
				} else {
					w.servers[name].lostSince = start.Add(-time.Second)
				}
				if x.acknowledges {
					w.acknowledge(t, s, "lobby", 1, 1, start.Add(-long), map[string]forwardingv1.State{
						"u": forwardingv1.State_STATE_MATCHING,
					})
				}
				if x.lost > 0 {
					s.Close(start.Add(-x.lost))
				}
			}
			w.claimsOf(map[string]claims.Holder{"lobby": x.owner, "another": {Name: "b"}})
			if x.former != (claims.Holder{}) {
				w.claim("lobby", claims.Holder{}, start.Add(-long))
				w.claim("lobby", x.former, start.Add(-long))
				w.claim("lobby", x.owner, start.Add(-30*time.Second))
			}
			w.claimsKnown(!x.unknown)
			if x.edit {
				w.unheard["ghost"] = start
			}
			w.pass(start)
			if x.anew {
				w.claim("lobby", claims.Holder{}, start.Add(time.Second))
				w.claim("lobby", x.owner, start.Add(time.Second))
			}
			if x.office == 0 {
				x.office = 9 * time.Minute
			}
			if got := describe(w.Judge(w.objects["u"], start.Add(-x.office), start)); got != x.want {
				t.Errorf("judged %q, want %q", got, x.want)
			}
		})
	}
}

// Who hosts a channel without its claim is not all there is to ask while its owner is out of
// touch.
func TestAnOwnerOutOfTouchIsMissed(t *testing.T) {
	w := listed()
	w.create("u")
	b := w.introduced(t, "b", start, func(i *Introduction) { i.ServesWithoutClaim = true })
	must(t, b.Report(reportOf("lobby", 1, 1, 0, "R", "S"), start))
	must(t, b.Complete(start))
	w.acknowledge(t, b, "lobby", 1, 1, start, map[string]forwardingv1.State{"u": forwardingv1.State_STATE_MATCHING})
	w.claimsKnown(true)
	w.claim("lobby", claims.Holder{Name: "a"}, start)
	missed := func(when string, want ...string) {
		t.Helper()
		if sessions, out := w.Hosts("lobby"); len(sessions) != 1 || !slices.Equal(out, want) {
			t.Errorf("%s %d host it, and %q are missed, want %q", when, len(sessions), out, want)
		}
		enforced, err := w.Enforced(w.objects["u"], nil, start)
		if err != nil || (enforced != nil) != (len(want) == 0) {
			t.Errorf("%s it is enforced: %v, %v", when, enforced, err)
		}
	}
	missed("before it is heard", "a")
	w.Judge(w.objects["u"], start.Add(-time.Hour), start)
	w.told()
	must(t, w.introduced(t, "a", start, nil).Complete(start))
	missed("as it is heard")
	if told := w.told(); !slices.Equal(told, []string{"u"}) {
		t.Errorf("that it is heard tells of %v", told)
	}
}

// Nothing is armed by the passing of time: not before it has been listed who owns what, and
// who owned a channel then counts when that is not followed any more.
func TestNothingIsArmedBeforeClaimsAreListed(t *testing.T) {
	w := listed()
	w.claims = newClaimed()
	w.create("armed")
	w.create("expired", expiring(start))
	w.create("other", inChannel("hall"))
	a := w.introduced(t, "a", start, nil)
	must(t, a.Complete(start))
	judge := func(when, armed, expired, other string) {
		t.Helper()
		for name, want := range map[string]string{"armed": armed, "expired": expired, "other": other} {
			verdict := w.Judge(w.objects[name], start.Add(-9*time.Minute), start.Add(time.Second))
			if got := describe(verdict); got != want {
				t.Errorf("%s, %s is judged %q, want %q", when, name, got, want)
			}
			if want == "Starting" && !verdict.Until.IsZero() {
				t.Errorf("%s, the passing of time is to change what %s is", when, name)
			}
		}
	}
	judge("before they are listed", "Starting", "Starting", "Starting")
	w.claim("lobby", claims.Holder{Name: "ghost"}, start)
	w.told()
	w.claimsKnown(true)
	if got := w.told(); !slices.Equal(got, []string{"armed", "expired", "other"}) {
		t.Errorf("that claims are listed tells of %v", got)
	}
	judge("as they are listed", "MediaServerLost lost ghost", "MediaServerLost lost ghost", "Armed")
	w.claimsKnown(false)
	judge("when they are not followed any more", "MediaServerLost lost ghost", "MediaServerLost lost ghost", "Armed")
	w.claimsKnown(true)
	w.claim("lobby", claims.Holder{}, start)
	judge("when nobody owns it any more", "Armed", "Expired", "Armed")
}

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
