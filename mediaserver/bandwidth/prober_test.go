package bandwidth

import (
	"testing"
	"time"
)

// run has a prober look for a while as often as it wants to, and gives when probes began,
// how long they took, and what the last one proved.
func run(p *Prober, from time.Time, lasting time.Duration, sight func(now time.Time, padded time.Duration) Sight) (
	begins []time.Duration, padded []time.Duration, proved int,
) {
	var began time.Time
	for now := from; now.Before(from.Add(lasting)); now = now.Add(5 * time.Millisecond) {
		var so time.Duration
		if !began.IsZero() {
			so = now.Sub(began)
		}
		probe := p.Look(sight(now, so), now)
		switch {
		case probe.Padding > 0 && began.IsZero():
			began = now
			begins = append(begins, now.Sub(from))
		case probe.Padding == 0 && !began.IsZero():
			padded = append(padded, now.Sub(began))
			began = time.Time{}
		}
		if probe.Proved != 0 {
			return begins, padded, probe.Proved
		}
	}

	return begins, padded, 0
}

func TestProbeProves(t *testing.T) {
	var p Prober
	p.Look(Sight{Wanted: 600_000, Sent: 150_000, Congested: true}, start)
	said := 400_000
	begins, padded, proved := run(&p, start, time.Minute, func(_ time.Time, padded time.Duration) Sight {
		if padded > 0 {
			said += 500
		}

		return Sight{Wanted: 600_000, Sent: 150_000, Said: said}
	})
	if len(begins) != 1 || begins[0] != firstWait || padded[0] != probeFor || proved != 720_000 {
		t.Errorf("probes at %v for %v have proved %d bit/s", begins, padded, proved)
	}
}

// Probes that fail come ever more rarely, but often enough to notice soon when there is room.
func TestProbesBackOff(t *testing.T) {
	for name, sight := range map[string]func(time.Time, time.Duration) Sight{
		"the receiver says that it is too much": func(_ time.Time, padded time.Duration) Sight {
			return Sight{Wanted: 600_000, Sent: 150_000, Said: 400_000, Congested: padded >= 300*time.Millisecond}
		},
		"the receiver says what it said before": func(time.Time, time.Duration) Sight {
			return Sight{Wanted: 600_000, Sent: 150_000, Said: 400_000}
		},
	} {
		var p Prober
		p.Look(Sight{Wanted: 600_000, Sent: 150_000, Congested: true}, start)
		begins, padded, proved := run(&p, start, time.Minute, sight)
		if proved != 0 {
			t.Errorf("%s: %d bit/s are proved", name, proved)
		}
		if len(begins) < 8 || len(begins) > 14 || begins[0] != firstWait {
			t.Errorf("%s: probes at %v", name, begins)
		}
		for i := 1; i < len(begins); i++ {
			gap := begins[i] - begins[i-1]
			if most := maxProbeWait + probeFor + probeSettling; gap > most+10*time.Millisecond || gap < firstWait {
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

// A layer that turns out to be too much is not tried again soon.
func TestRelapse(t *testing.T) {
	var p Prober
	now := start
	p.Look(Sight{Wanted: 600_000, Sent: 150_000, Congested: true}, now)
	var last time.Duration
	for range 12 {
		from := now
		_, _, proved := run(&p, now, 5*time.Minute, func(t time.Time, _ time.Duration) Sight {
			now = t

			return Sight{Wanted: 600_000, Sent: 150_000}
		})
		if proved == 0 {
			t.Fatal("no probe")
		}
		took := now.Sub(from)
		if took < last {
			t.Errorf("the next probe was done after %v, the one before after %v", took, last)
		}
		last = took
		now = now.Add(2 * time.Second)
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
	now := start
	begins, _, proved := run(&p, start, time.Minute, func(t time.Time, _ time.Duration) Sight {
		now = t

		return Sight{Wanted: 150_000, Said: 30_000, Unpadded: true}
	})
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
		from := now
		_, _, proved := run(&p, now, 5*time.Minute, func(t time.Time, _ time.Duration) Sight {
			now = t

			return Sight{Wanted: 150_000, Unpadded: true}
		})
		if took := now.Sub(from); proved == 0 || took > maxDarkWait+2*time.Second {
			t.Fatalf("relapse %d: tried again after %v, as %d bit/s", i, took, proved)
		}
		now = now.Add(2 * time.Second)
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
	now, sent, wanted := start, 150_000, 600_000
	look := func(after time.Duration, congested bool) Probe {
		now = now.Add(after)

		return p.Look(Sight{Wanted: wanted, Sent: sent, Congested: congested}, now)
	}
	look(0, true)
	wait := firstWait
	for range 4 {
		sent, wanted = 150_000, 600_000
		if probe := look(wait, false); probe.Padding == 0 {
			t.Fatalf("no probe after %v", wait)
		}
		look(probeFor, false)
		if probe := look(probeSettling, false); probe.Proved == 0 {
			t.Fatal("nothing is proved")
		}
		sent, wanted = 600_000, 1_200_000
		if probe := look(tick, false); probe.Padding == 0 {
			t.Fatal("no probe for the next layer")
		}
		look(time.Second, true)
		next := look(time.Second, true).Next.Sub(now)
		if next <= wait {
			t.Fatalf("again after %v, before that after %v", next, wait)
		}
		wait = next
	}
}

// What a receiver said long ago, and has taken back, is no measure for what it says in a probe.
func TestAnswerAfterAFall(t *testing.T) {
	var p Prober
	p.Look(Sight{Wanted: 600_000, Sent: 150_000, Congested: true}, start)
	said, now := 2_000_000, start
	sight := func(_ time.Time, padded time.Duration) Sight {
		if padded > 0 {
			said += 500
		}

		return Sight{Wanted: 600_000, Sent: 150_000, Said: said}
	}
	if _, _, proved := run(&p, now, 10*time.Second, func(time.Time, time.Duration) Sight {
		return Sight{Wanted: 600_000, Sent: 150_000, Said: said}
	}); proved != 0 {
		t.Fatal("proved though nothing was said")
	}
	said = 300_000
	if _, _, proved := run(&p, now.Add(10*time.Second), 20*time.Second, sight); proved == 0 {
		t.Error("nothing is proved though the estimate grows in each probe")
	}
}
