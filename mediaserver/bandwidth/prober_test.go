package bandwidth

import (
	"testing"
	"time"
)

const usual = 100 * time.Millisecond

// probed is what a prober is told, given for how long there has been padding: how long a round trip that is measured
// now takes, 0 where it is lost, and the rest.
type probed func(padded time.Duration) (trip time.Duration, sight Sight)

// run has a prober look for a while as often as it wants to, and gives when probes began, how long they took, what the
// last one proved, and when.
func run(p *Prober, from time.Time, lasting time.Duration, tell probed) (
	begins []time.Duration, padded []time.Duration, proved int, now time.Time,
) {
	var began time.Time
	answers := make(map[time.Time]time.Duration)
	for now = from; now.Before(from.Add(lasting)); now = now.Add(5 * time.Millisecond) {
		var so time.Duration
		if !began.IsZero() {
			so = now.Sub(began)
		}
		if took := answers[now]; took > 0 {
			p.ReceiveMeasured(took, now)
		}
		trip, sight := tell(so)
		sight.Usual = usual
		probe := p.Look(sight, now)
		if probe.Measure {
			answers[now.Add(trip)] = trip
		}
		switch {
		case probe.Padding > 0 && began.IsZero():
			began = now
			begins = append(begins, now.Sub(from))
		case probe.Padding == 0 && !began.IsZero():
			padded = append(padded, now.Sub(began))
			began = time.Time{}
		}
		if probe.Proved != 0 {
			return begins, padded, probe.Proved, now
		}
	}

	return begins, padded, 0, now
}

func always(sight Sight) probed {
	return func(time.Duration) (time.Duration, Sight) { return usual, sight }
}

func TestProbeProves(t *testing.T) {
	var p Prober
	p.Look(Sight{Wanted: 600_000, Sent: 150_000, Congested: true}, start)
	begins, padded, proved, _ := run(&p, start, time.Minute, always(Sight{Wanted: 600_000, Sent: 150_000}))
	if len(begins) != 1 || begins[0] != firstWait+usual || padded[0] != probeFor || proved != 720_000 {
		t.Errorf("probes at %v for %v have proved %d bit/s", begins, padded, proved)
	}
}

// Probes that fail come ever more rarely, but often enough to notice soon when there is room.
func TestProbesBackOff(t *testing.T) {
	sight := Sight{Wanted: 600_000, Sent: 150_000}
	const slightlyLonger = "the receiver's estimate falls, and round trips are slightly longer"
	for name, tell := range map[string]probed{
		"it is known to be too much": func(padded time.Duration) (time.Duration, Sight) {
			sight := sight
			sight.Congested = padded >= 300*time.Millisecond

			return usual, sight
		},
		"round trips are longer": func(padded time.Duration) (time.Duration, Sight) {
			return usual + padded/10, sight
		},
		slightlyLonger: func(padded time.Duration) (time.Duration, Sight) {
			sight := sight
			sight.Fell = padded == 500*time.Millisecond

			return usual + min(padded/10, slightly), sight
		},
		"none are measured near the end": func(padded time.Duration) (time.Duration, Sight) {
			if padded > time.Second {
				return 0, sight
			}

			return usual, sight
		},
	} {
		var p Prober
		p.Look(Sight{Wanted: 600_000, Sent: 150_000, Congested: true}, start)
		begins, padded, proved, _ := run(&p, start, time.Minute, tell)
		if proved != 0 {
			t.Errorf("%s: %d bit/s are proved", name, proved)
		}
		if len(begins) < 8 || len(begins) > 14 || begins[0] != firstWait+usual {
			t.Errorf("%s: probes at %v", name, begins)
		}
		for i := 1; i < len(begins); i++ {
			gap := begins[i] - begins[i-1]
			if most := maxProbeWait + usual + probeFor + probeSettling; gap > most+10*time.Millisecond || gap < firstWait {
				t.Errorf("%s: %v between probes", name, gap)
			}
		}
		for _, lasted := range padded {
			if lasted > probeFor {
				t.Errorf("%s: a probe of %v", name, lasted)
			}
		}
	}
}

// The receiver's estimate that falls of a burst ends no probe.
func TestBurstInAProbe(t *testing.T) {
	var p Prober
	_, _, proved, _ := run(&p, start, time.Minute, func(padded time.Duration) (time.Duration, Sight) {
		return usual, Sight{Wanted: 600_000, Sent: 150_000, Fell: padded == 500*time.Millisecond}
	})
	if proved == 0 {
		t.Error("nothing is proved")
	}
}

// A receiver that answers no checks at all is not left with the smallest picture for ever: what is wanted is tried,
// ever more rarely where it is too much.
func TestNobodyAnswers(t *testing.T) {
	var p Prober
	silent := func(time.Duration) (time.Duration, Sight) { return 0, Sight{Wanted: 600_000, Sent: 150_000} }
	p.Look(Sight{Wanted: 600_000, Sent: 150_000, Congested: true}, start)
	now, last := start, time.Duration(0)
	for i := range 12 {
		begins, _, proved, at := run(&p, now, 3*time.Minute, silent)
		took := at.Sub(now)
		if len(begins) > 0 || proved < 600_000 || i > 1 && took < last {
			t.Fatalf("%d probes have proved %d bit/s after %v, before that after %v", len(begins), proved, took, last)
		}
		last, now = took, at.Add(2*time.Second)
		p.Look(Sight{Wanted: 1_200_000, Sent: 600_000, Congested: true}, now)
	}
	if last < time.Minute || last > maxRelapseWait+2*time.Second {
		t.Errorf("after twelve relapses it was tried after %v", last)
	}
	p.ReceiveMeasured(usual, now)
	if begins, _, _, _ := run(&p, now, 3*time.Minute, always(Sight{Wanted: 600_000, Sent: 150_000})); len(begins) == 0 {
		t.Error("no probe once there are answers")
	}
}

// Where there is a queue already, or nobody answers for a while, no padding goes out.
func TestQueueBeforeAProbe(t *testing.T) {
	for trip, lasting := range map[time.Duration]time.Duration{0: maxUnanswered * askFor, usual + swollen: time.Minute} {
		var p Prober
		begins, _, proved, _ := run(&p, start, lasting, func(time.Duration) (time.Duration, Sight) {
			return trip, Sight{Wanted: 600_000, Sent: 150_000}
		})
		if len(begins) != 0 || proved != 0 {
			t.Errorf("probes at %v have proved %d bit/s", begins, proved)
		}
	}
}

// As long as it is in doubt whether what is sent is too much, nothing more is tried.
func TestNoProbeInDoubt(t *testing.T) {
	var p Prober
	begins, _, _, now := run(&p, start, 10*time.Second, always(Sight{Wanted: 600_000, Sent: 150_000, Doubtful: true}))
	if len(begins) != 0 {
		t.Errorf("probes at %v", begins)
	}
	if _, _, proved, _ := run(&p, now, 10*time.Second, always(Sight{Wanted: 600_000, Sent: 150_000})); proved == 0 {
		t.Error("nothing is proved after it")
	}
}

// A layer that turns out to be too much is not tried again soon.
func TestRelapse(t *testing.T) {
	var p Prober
	now := start
	p.Look(Sight{Wanted: 600_000, Sent: 150_000, Congested: true}, now)
	var last time.Duration
	for range 12 {
		_, _, proved, at := run(&p, now, 5*time.Minute, always(Sight{Wanted: 600_000, Sent: 150_000}))
		if proved == 0 {
			t.Fatal("no probe")
		}
		took := at.Sub(now)
		if took < last {
			t.Errorf("the next probe was done after %v, the one before after %v", took, last)
		}
		last, now = took, at.Add(2*time.Second)
		p.Look(Sight{Wanted: 1_200_000, Sent: 600_000, Congested: true}, now)
	}
	if last < time.Minute || last > maxRelapseWait+2*time.Second {
		t.Errorf("after twelve relapses the next probe was done after %v", last)
	}
}

// Where padding cannot go out, what is wanted is tried by itself, at the same pace.
func TestUnpadded(t *testing.T) {
	var p Prober
	p.Look(Sight{Wanted: 150_000, Congested: true}, start)
	begins, _, proved, now := run(&p, start, time.Minute, always(Sight{Wanted: 150_000, Unpadded: true}))
	if took := now.Sub(start); len(begins) != 0 || proved < 150_000 || took < firstWait || took > firstWait+2*time.Second {
		t.Errorf("%d probes; after %v, %d bit/s are to be tried", len(begins), took, proved)
	}
}

// Who sees nothing at all is not left without for as long as who sees a smaller picture.
func TestUnpaddedRelapse(t *testing.T) {
	var p Prober
	now := start
	p.Look(Sight{Wanted: 150_000, Congested: true}, now)
	for i := range 12 {
		_, _, proved, at := run(&p, now, 5*time.Minute, always(Sight{Wanted: 150_000, Unpadded: true}))
		if took := at.Sub(now); proved == 0 || took > maxDarkWait+2*time.Second {
			t.Fatalf("relapse %d: tried again after %v, as %d bit/s", i, took, proved)
		}
		now = at.Add(2 * time.Second)
		p.Look(Sight{Wanted: 300_000, Sent: 150_000, Congested: true}, now)
	}
}

// Who has all that it wants is not probed, and needs no timer.
func TestNothingToProbe(t *testing.T) {
	var p Prober
	if probe := p.Look(Sight{Sent: 1_000_000}, start); probe != (Probe{}) {
		t.Errorf("%+v", probe)
	}
	p.Look(Sight{Wanted: 600_000, Sent: 150_000}, start)
	if probe := p.Look(Sight{Sent: 600_000}, start.Add(100*time.Millisecond)); probe != (Probe{}) {
		t.Errorf("in the midst of a probe: %+v", probe)
	}
}

// A layer that turns out to be too much has done so though a probe for the next one has failed meanwhile.
func TestRelapseBehindAProbe(t *testing.T) {
	var p Prober
	now, wait := start, firstWait
	p.Look(Sight{Wanted: 600_000, Sent: 150_000, Congested: true}, now)
	for range 4 {
		_, _, proved, at := run(&p, now, 5*time.Minute, always(Sight{Wanted: 600_000, Sent: 150_000}))
		if proved == 0 {
			t.Fatal("nothing is proved")
		}
		if took := at.Sub(now); took < wait {
			t.Fatalf("again after %v, before that after %v", took, wait)
		} else {
			wait = took
		}
		begins, _, _, at := run(&p, at.Add(tick), 2*time.Second, func(padded time.Duration) (time.Duration, Sight) {
			return usual, Sight{Wanted: 1_200_000, Sent: 600_000, Congested: padded == time.Second}
		})
		if len(begins) != 1 {
			t.Fatalf("probes for the next layer at %v", begins)
		}
		p.Look(Sight{Wanted: 1_200_000, Sent: 600_000, Congested: true}, at)
		now = at
	}
	if wait < 3*firstWait {
		t.Errorf("again after %v at last", wait)
	}
}
