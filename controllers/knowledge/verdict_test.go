package knowledge

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

const (
	matching      = forwardingv1.State_STATE_MATCHING
	notMatching   = forwardingv1.State_STATE_NOT_MATCHING
	expired       = forwardingv1.State_STATE_EXPIRED
	notUnderstood = forwardingv1.State_STATE_NOT_UNDERSTOOD
)

func expiring(at time.Time) func(*held.Pause) {
	return func(o *held.Pause) { o.Spec.ExpiresAt = &metav1.Time{Time: at} }
}

// toldExpired is a pause of which a status has said that it has expired.
func toldExpired(o *held.Pause) {
	object := o.Object()
	object.Spec.ExpiresAt = &metav1.Time{Time: start}
	object.Status.ObservedGeneration = o.Generation
	object.Status.Conditions = []metav1.Condition{
		{Type: "Ready", Status: "True", Reason: "Expired", ObservedGeneration: o.Generation},
	}
	*o = *held.New(object)
}

// host is a media server of the table below: what it said, and whether it is lost
// since.
type host struct {
	state forwardingv1.State // 0: no acknowledgement
	older bool               // of former content
	lost  time.Duration      // since so long; 0: in touch
	empty bool               // it hosts nothing
}

func TestVerdicts(t *testing.T) {
	const long = time.Hour
	for name, x := range map[string]struct {
		hosts  map[string]host
		edit   func(*held.Pause)
		office time.Duration
		want   string
		until  time.Duration // from now; 0: never
	}{
		"nobody hosts":                {want: "Armed"},
		"nobody hosts, new in office": {office: 2 * time.Second, want: "Starting", until: 3 * time.Second},
		"deleting": {
			edit:  func(o *held.Pause) { o.Deletion = &held.Deletion{Timestamp: metav1.NewTime(start)} },
			hosts: map[string]host{"a": {state: matching}},
			want:  "Deleting",
		},
		"a side of a newer version": {edit: func(o *held.Pause) { o.Spec.Senders = held.Side{} }, want: "NotUnderstood"},
		"hosted":                    {hosts: map[string]host{"a": {}}, want: "NotAcknowledged waiting a"},
		"hosted, new in office": {
			hosts: map[string]host{"a": {}}, office: time.Second, want: "NotAcknowledged waiting a",
		},
		"matching": {hosts: map[string]host{"a": {state: matching}}, want: "Enforced matching a"},
		"matching, new in office": {
			hosts: map[string]host{"a": {state: matching}}, office: time.Second, want: "Enforced matching a",
		},
		"former content": {hosts: map[string]host{"a": {state: matching, older: true}}, want: "NotAcknowledged waiting a"},
		"one of two": {
			hosts: map[string]host{"b": {state: matching}, "a": {}}, want: "NotAcknowledged matching b waiting a",
		},
		"not matching": {hosts: map[string]host{"a": {state: notMatching}}, want: "Armed"},
		"not matching and matching": {
			hosts: map[string]host{"a": {state: notMatching}, "b": {state: matching}}, want: "Enforced matching b",
		},
		"not understood": {
			hosts: map[string]host{"a": {state: notUnderstood}, "b": {state: matching}}, want: "NotUnderstood matching b",
		},
		"lost 30 s": {
			hosts: map[string]host{"a": {state: matching, lost: 30 * time.Second}},
			want:  "MediaServerLost lost a",
			until: 570 * time.Second,
		},
		"lost 10 s, another hosts": {
			hosts: map[string]host{"a": {state: matching, lost: 10 * time.Second}, "b": {state: notMatching}},
			want:  "MediaServerLost lost a",
			until: 590 * time.Second,
		},
		"lost after it acknowledged": {
			hosts: map[string]host{"a": {state: matching, lost: 10 * time.Second}, "b": {state: matching}},
			want:  "MediaServerLost matching b lost a",
			until: 590 * time.Second,
		},
		"lost before it acknowledged": {
			hosts: map[string]host{"a": {state: matching, older: true, lost: 10 * time.Second}, "b": {state: matching}},
			want:  "MediaServerLost matching b lost a",
			until: 590 * time.Second,
		},
		"lost 10 min": {hosts: map[string]host{"a": {state: matching, lost: 10 * time.Minute}}, want: "Armed"},
		"another is lost": {
			hosts: map[string]host{"a": {empty: true, lost: time.Minute}},
			want:  "MediaServerLost lost a",
			until: 9 * time.Minute,
		},
		"another is lost, not matching": {
			hosts: map[string]host{"a": {empty: true, lost: time.Minute}, "b": {state: notMatching}},
			want:  "MediaServerLost lost a",
			until: 9 * time.Minute,
		},
		"another is lost, matching": {
			hosts: map[string]host{"a": {empty: true, lost: time.Minute}, "b": {state: matching}}, want: "Enforced matching b",
		},
		"another is lost, new in office": {
			hosts:  map[string]host{"a": {empty: true, lost: time.Minute}},
			office: 2 * time.Second,
			want:   "Starting",
			until:  3 * time.Second,
		},
		"status names one never heard of": {
			edit:   func(o *held.Pause) { o.Status.MediaServer = "gone" },
			office: time.Minute,
			want:   "MediaServerLost lost gone",
			until:  9 * time.Minute,
		},
		"status names one, long in office": {edit: func(o *held.Pause) { o.Status.MediaServer = "gone" }, want: "Armed"},
		"status names one in touch": {
			edit:   func(o *held.Pause) { o.Status.MediaServer = "a" },
			hosts:  map[string]host{"a": {empty: true}},
			office: time.Minute,
			want:   "Armed",
		},
		"expires later": {
			edit:  expiring(start.Add(long)),
			hosts: map[string]host{"a": {state: matching}},
			want:  "Enforced matching a",
			until: long,
		},
		"expired, nobody hosts": {edit: expiring(start), want: "Expired"},
		"expired, new in office": {
			edit: expiring(start), office: 2 * time.Second, want: "Starting", until: 3 * time.Second,
		},
		"expired, told, new in office": {edit: toldExpired, office: 2 * time.Second, want: "Expired"},
		"expired, another is lost": {
			edit:  expiring(start),
			hosts: map[string]host{"a": {empty: true, lost: time.Minute}},
			want:  "MediaServerLost lost a",
			until: 9 * time.Minute,
		},
		"expired, told, another is lost": {
			edit: toldExpired, hosts: map[string]host{"a": {empty: true, lost: time.Minute}}, want: "Expired",
		},
		"expired, told, a slower clock": {
			edit: toldExpired, hosts: map[string]host{"a": {state: matching}}, want: "Enforced matching a withholding a",
		},
		"expired, said so": {
			edit: expiring(start), hosts: map[string]host{"a": {state: expired}, "b": {state: expired}}, want: "Expired",
		},
		"expired by a faster clock": {
			edit:  expiring(start.Add(time.Second)),
			hosts: map[string]host{"a": {state: expired}},
			want:  "Expired",
			until: time.Second,
		},
		"expired, a slower clock withholds": {
			edit:  expiring(start),
			hosts: map[string]host{"a": {state: expired}, "b": {state: matching}},
			want:  "Enforced matching b withholding b",
		},
		"expired, a slower clock may": {
			edit: expiring(start), hosts: map[string]host{"a": {state: expired}, "b": {state: notMatching}}, want: "Armed",
		},
		"expired, not said": {edit: expiring(start), hosts: map[string]host{"a": {}}, want: "NotAcknowledged waiting a"},
		"expired, said and lost": {
			edit: expiring(start), hosts: map[string]host{"a": {state: expired, lost: time.Minute}}, want: "Expired",
		},
		"expired, lost before it said": {
			edit:  expiring(start),
			hosts: map[string]host{"a": {state: matching, lost: time.Minute}},
			want:  "MediaServerLost lost a",
			until: 9 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := listed()
			var edits []func(*held.Pause)
			if x.edit != nil {
				edits = append(edits, x.edit)
			}
			w.create("u", edits...)
			for name, h := range x.hosts {
				w.placed(t, name, h)
			}
			if x.office == 0 {
				x.office = long
			}
			v := w.Judge(w.objects["u"], start.Add(-x.office), start)
			if got := describe(v); got != x.want {
				t.Errorf("judged %q, want %q", got, x.want)
			}
			var until time.Duration
			if !v.Until.IsZero() {
				until = v.Until.Sub(start)
			}
			if until != x.until {
				t.Errorf("changes by itself after %s, want %s", until, x.until)
			}
			if lost := x.want != "" && len(v.Lost) > 0; lost != !v.LostSince.IsZero() {
				t.Errorf("lost %v since %v", v.Lost, v.LostSince)
			}
		})
	}
}

// placed has the media server say what the table says.
func (w *world) placed(t *testing.T, name string, h host) {
	t.Helper()
	began := start.Add(-30 * time.Minute)
	var reports []*forwardingv1.ChannelReport
	if !h.empty {
		reports = append(reports, reportOf("lobby", 1, 1, 0, "R", "S"))
	}
	s := w.stream(t, name, began, reports...)
	if h.state != 0 {
		digest, _ := content(w.objects["u"])
		if h.older {
			digest[0]++
		}
		must(t, s.Acknowledge(&forwardingv1.Acknowledgement{ChannelId: "lobby", Instance: 1, Epoch: 1, Whole: true,
			Set: []*forwardingv1.PauseState{
				{Uid: string(w.objects["u"].UID), Digest: digest[:], State: h.state},
			}}, began))
	}
	if h.lost > 0 {
		s.Close(start.Add(-h.lost))
	}
}

func TestWhatARestartedMediaServerAcknowledgedBeforeCountsForNothing(t *testing.T) {
	w := listed()
	w.create("u")
	first := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	w.acknowledge(t, first, "lobby", 1, 1, start, map[string]forwardingv1.State{"u": matching})
	first.Close(start)
	second := w.connect(t, "ms", "second", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	must(t, second.Complete(start))
	if got := describe(w.Judge(w.objects["u"], time.Time{}, start)); got != "NotAcknowledged waiting ms" {
		t.Errorf("a new process: %s", got)
	}
	w.acknowledge(t, second, "lobby", 1, 1, start, map[string]forwardingv1.State{"u": matching})
	must(t, second.Report(reportOf("lobby", 2, 1, 0, "R", "S"), start))
	if got := describe(w.Judge(w.objects["u"], time.Time{}, start)); got != "NotAcknowledged waiting ms" {
		t.Errorf("a new instance: %s", got)
	}
	w.acknowledge(t, second, "lobby", 1, 1, start, map[string]forwardingv1.State{"u": matching})
	if got := describe(w.Judge(w.objects["u"], time.Time{}, start)); got != "NotAcknowledged waiting ms" {
		t.Errorf("a late word of the old instance: %s", got)
	}
}

func TestAJoinInFlightTurnsNothingUnacknowledged(t *testing.T) {
	w := listed()
	w.create("u")
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R", "S"))
	w.acknowledge(t, s, "lobby", 1, 1, start, map[string]forwardingv1.State{"u": matching})
	w.told()
	must(t, s.Report(reportOf("lobby", 1, 2, 1, "X", "Y"), start))
	if got := describe(w.Judge(w.objects["u"], time.Time{}, start)); got != "Enforced matching ms" {
		t.Error(got)
	}
	if told := w.told(); len(told) > 0 {
		t.Errorf("told of %v", told)
	}
}

func TestChannelsBeyondTheBoundsKeepPausesFromBeingArmed(t *testing.T) {
	w := newWorld(Limits{Channels: 1})
	w.list()
	w.create("u")
	s := w.stream(t, "ms", start, reportOf("other", 1, 1, 0, "X"))
	if got := describe(w.Judge(w.objects["u"], time.Time{}, start)); got != "Armed" {
		t.Error(got)
	}
	w.told()
	must(t, s.Report(reportOf("lobby", 2, 1, 0, "R", "S"), start))
	if got := describe(w.Judge(w.objects["u"], time.Time{}, start)); got != "NotAcknowledged waiting ms" {
		t.Error(got)
	}
	if told := w.told(); !slices.Contains(told, "u") {
		t.Errorf("told of %v", told)
	}
}
