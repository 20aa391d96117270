package bandwidth

import (
	"slices"
	"testing"
	"time"
)

// What is measured before a burst has passed ends no doubt unless the queue is deep already; then one that is short
// does, and some that are long, or one of a deep queue, decide.
func TestDoubt(t *testing.T) {
	const early, late = burstFor - time.Millisecond, burstFor
	type measured struct{ after, queue time.Duration }
	for name, test := range map[string]struct {
		measured []measured
		want     doubt // by how it ends
	}{
		"a short one at once": {[]measured{{early, 0}}, doubt{since: start}},
		"a short one later":   {[]measured{{late, shallow - 1}}, doubt{}},
		"long ones at once":   {[]measured{{early, shallow}, {early, shallow}, {early, deep - 1}}, doubt{since: start}},
		"one of a deep queue at once": {
			[]measured{{early, deep}}, doubt{since: start, decided: true, sudden: true, least: usual + deep},
		},
		"two long ones": {
			[]measured{{late, 2 * shallow}, {late, 3 * shallow}}, doubt{since: start, least: usual + 2*shallow},
		},
		"as many as have to agree": {
			append(slices.Repeat([]measured{{late, 2 * shallow}}, agree-1), measured{late, shallow}),
			doubt{since: start, decided: true, least: usual + shallow},
		},
		"one of a deep queue later":     {[]measured{{late, deep}}, doubt{since: start, decided: true, least: usual + deep}},
		"two long ones and a short one": {[]measured{{late, shallow}, {late, shallow}, {late, 0}}, doubt{}},
	} {
		t.Run(name, func(t *testing.T) {
			var d doubt
			d.begin(true, start)
			d.begin(false, start.Add(time.Millisecond))
			if !d.said {
				t.Error("a second sign takes away what the receiver has said")
			}
			for _, m := range test.measured {
				d.receive(usual+m.queue, m.queue, start.Add(m.after))
			}
			got := doubt{since: d.since, decided: d.decided, sudden: d.sudden, least: d.least}
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// After a doubt that was none there is no next one at once.
func TestDismissed(t *testing.T) {
	var r Reported
	r.ReceiveRoundTrip(usual, start)
	r.ReceiveRoundTrip(usual+deep, start)
	now := start.Add(burstFor + usual)
	if r.ReceiveMeasured(usual, now); r.doubt.is() {
		t.Fatal("a short round trip ends no doubt")
	}
	if r.ReceiveRoundTrip(2*time.Second, now.Add(settled-1)) || r.doubt.is() {
		t.Error("it begins anew at once")
	}
	if r.ReceiveRoundTrip(4*time.Second, now.Add(settled)); !r.doubt.is() {
		t.Error("it never begins anew")
	}
}

// A round trip in a probe that is long by chance ends it only if it is very long. Those from before it tell nothing of
// it, and where it is not known how long they take, none does.
func TestProbeTrips(t *testing.T) {
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		usual time.Duration
		trips []time.Duration
		since time.Duration
		long  bool
	}{
		"one":                     {usual, []time.Duration{usual + swollen}, 0, false},
		"two in a row":            {usual, []time.Duration{usual + swollen, usual + swollen}, 0, true},
		"not in a row":            {usual, []time.Duration{usual + swollen, usual, usual + swollen}, 0, false},
		"a very long one":         {usual, []time.Duration{usual + 2*swollen}, 0, true},
		"those of before":         {usual, []time.Duration{time.Second, time.Second}, -ms, false},
		"nothing is known before": {0, []time.Duration{time.Second, time.Second}, 0, false},
	} {
		probe := probeTrips{usual: test.usual, began: start}
		for _, took := range test.trips {
			probe.receive(took, start.Add(test.since))
		}
		if probe.long != test.long {
			t.Errorf("%s: long %v", name, probe.long)
		}
	}
}

// The shortest round trip is that of the last half minute at least, whichever it was in that.
func TestShortest(t *testing.T) {
	var tr trips
	now := start
	for round := range 3 {
		for i := range 30 {
			took := usual + 200*time.Millisecond
			if i == 15 {
				took = usual
			}
			tr.shorten(took, now)
			if now = now.Add(time.Second); round > 0 && tr.shortest != usual {
				t.Fatalf("%v", tr.shortest)
			}
		}
	}
}

// Whoever answers some of what is measured and then nothing is believed: no doubt goes on for ever.
func TestDoubtEnds(t *testing.T) {
	for answers := range agree {
		var r Reported
		r.ReceiveMeasured(usual, start)
		r.ReceiveREMB(2_000_000)
		r.Look(1_250_000, 0, start)
		r.ReceiveREMB(1_000_000)
		r.Look(1_250_000, 0, start)
		now := start.Add(burstFor + usual + shallow)
		for range answers {
			r.ReceiveMeasured(usual+shallow, now)
			now = now.Add(measureEvery)
		}
		if !r.Look(1_250_000, 0, start.Add(2*doubtFor)) {
			t.Errorf("nothing is concluded after %d answers", answers)
		}
		if measure, next := r.Measure(start.Add(2 * doubtFor)); measure || !next.IsZero() {
			t.Errorf("the doubt goes on after %d answers", answers)
		}
	}
}

// What is paused meanwhile says nothing of the way: whatever was a sign, no limit is found by what is no longer sent.
func TestPauseAfterASign(t *testing.T) {
	for name, sign := range map[string]func(r *Reported){
		"the receiver's estimate": func(r *Reported) {
			r.ReceiveREMB(2_000_000)
			r.Look(1_250_000, 0, start)
			r.ReceiveREMB(1_000_000)
			r.Look(1_250_000, 0, start)
		},
		"a long round trip": func(r *Reported) {
			r.ReceiveRoundTrip(usual+deep, start)
			r.Look(1_250_000, 0, start)
			r.ReceiveMeasured(usual+deep, start.Add(burstFor))
		},
		"what is missing": func(r *Reported) {
			for since := -lossy; since <= 0; since += lossy / 6 {
				r.ReceiveMissing(3, 6, 3_000, start.Add(since))
			}
		},
		"losses": func(r *Reported) { r.ReceiveLoss(60, 100, start) },
	} {
		for _, sent := range []int{0, 1_250_000} {
			var r Reported
			r.ReceiveMeasured(usual, start)
			sign(&r)
			congested := r.Look(sent, 0, start)
			congested = r.Look(sent, 0, start.Add(doubtFor)) || congested
			if estimate, limited := r.Estimate(); congested != (sent > 0) || limited != congested {
				t.Errorf("%s, then %d bit/s are sent: congested %v, %d bit/s", name, sent, congested, estimate)
			}
		}
	}
}
