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
