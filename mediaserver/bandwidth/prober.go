package bandwidth

import "time"

// How probes go. LiveKit's, where not said otherwise: a fifth more than is needed, 200
// kbit/s of padding at least, the first after 3 s, each that fails makes the wait half as
// long again.
const (
	probeMargin = 1.2
	minPadding  = 200_000 // bit/s
	firstWait   = 3 * time.Second
	waitGrowth  = 1.5
	// A probe is raised step by step: where the way is far too narrow for it, that is noticed
	// while little is too much, also by a receiver that is slow to notice.
	raiseFor  = time.Second
	probeFor  = raiseFor + 400*time.Millisecond // at a fifth too much, a queue of 120 ms in the end
	raiseFrom = 0.1                             // of the padding
	// Answers are waited for so long, or as long as a round trip, where that takes longer.
	probeSettling  = 500 * time.Millisecond
	askFor         = time.Second
	maxUnanswered  = 10                    // times in a row: then a receiver has no answers to give
	probeInterval  = 20 * time.Millisecond // between two handfuls of padding
	maxProbeWait   = 5 * time.Second       // after a probe that failed: it cost its receiver a queue for a moment
	maxRelapseWait = 2 * time.Minute       // after a layer that was too much: it cost a picture that stood still
	maxDarkWait    = 15 * time.Second      // the same where there is no picture at all
	// relapse is how long after a probe it is that probe's fault when what is sent is too much.
	relapse = 10 * time.Second
)

// Prober says when to find out whether a receiver can be sent more, and how: by padding
// beside what it is sent, and by round trips that are measured meanwhile. A probe that is not too
// much makes no queue. The zero Prober has found out nothing.
type Prober struct {
	state   probeState
	until   time.Time // the state lasts
	target  int       // bit/s, media and padding together
	padding int       // of it
	trips   probeTrips
	wait    time.Duration // before the next probe; 0: the first
	proved  time.Time     // when the last one succeeded
	// unanswered is how often in a row nobody answered how long round trips are before a probe.
	unanswered int
}

type probeState uint8

const (
	resting probeState = iota
	asking
	probing
	settling
)

// Probe is what a Prober wants done.
type Probe struct {
	// Padding is how much padding goes out now, in bit/s.
	Padding int
	// Measure tells to measure a round trip.
	Measure bool
	// Proved is how much can be sent, as a probe has just shown, in bit/s; 0: none has.
	Proved int
	// Next is when to look again; zero: when something happens.
	Next time.Time
}

// Sight is what a Prober looks at. Rates are in bit/s.
type Sight struct {
	// Wanted is what the receiver would be sent with the next layer, 0 when it has all that
	// it wants, and Sent what it is sent now, without padding.
	Wanted, Sent int
	// Unpadded tells that there is nothing that padding could go beside. Then what is wanted
	// is its own probe.
	Unpadded bool
	// Congested tells that what is sent, padding included, is too much, Doubtful that it may be.
	Congested, Doubtful bool
	// Usual is Reported.Usual.
	Usual time.Duration
	// Fell tells that the receiver's estimate has fallen.
	Fell bool
}

// Look goes on.
func (p *Prober) Look(sight Sight, now time.Time) Probe {
	if sight.Fell {
		p.trips.doubt(now)
	}
	if sight.Congested || p.state != resting && !sight.Unpadded && p.trips.long {
		p.fail(now)
	}
	if sight.Wanted <= sight.Sent {
		if p.state != resting {
			p.state, p.until = resting, now
		}

		return Probe{}
	}
	switch over := !now.Before(p.until); p.state {
	case resting:
		p.rest(sight, now)
	case asking:
		if !p.trips.short.IsZero() {
			p.raise(sight, now)
		} else if over {
			p.unanswered++
			p.state, p.until = resting, now.Add(askFor)
		}
	case probing:
		if over {
			p.state, p.until = settling, now.Add(max(probeSettling, p.trips.usual+lately))
		}
	case settling:
		switch {
		case p.trips.passed(), over && (sight.Unpadded || p.deaf()):
			p.state, p.until, p.proved = resting, now, now

			return Probe{Proved: p.target, Next: now}
		case over:
			p.fail(now)
		}
	}

	return p.probe(sight, now)
}

// rest begins a probe when it is time: with the question whether there is a queue already.
func (p *Prober) rest(sight Sight, now time.Time) {
	if !p.proved.IsZero() && now.Sub(p.proved) > relapse {
		p.wait = min(p.wait, maxProbeWait)
	}
	if sight.Unpadded && p.until.Sub(now) > maxDarkWait {
		p.until = now.Add(maxDarkWait)
	}
	if now.Before(p.until) || sight.Doubtful {
		return
	}
	sight.Unpadded = sight.Unpadded || p.deaf()
	p.state, p.until, p.trips = asking, now.Add(max(askFor, sight.Usual+lately)), probeTrips{usual: sight.Usual}
	if sight.Unpadded {
		p.raise(sight, now)
	}
}

// deaf tells whether no answers are to be hoped for. Then what is wanted is its own probe, too.
func (p *Prober) deaf() bool { return p.unanswered >= maxUnanswered }

// raise begins with the padding.
func (p *Prober) raise(sight Sight, now time.Time) {
	p.state, p.until, p.trips = probing, now.Add(probeFor), probeTrips{began: now, usual: sight.Usual}
	p.target = max(int(float64(sight.Wanted)*probeMargin), sight.Sent+minPadding)
}

// probe is what to do now.
func (p *Prober) probe(sight Sight, now time.Time) Probe {
	probe := Probe{Next: p.until}
	if sight.Unpadded || p.deaf() {
		p.padding = 0

		return probe
	}
	if p.state == probing {
		p.padding = int(float64(max(0, p.target-sight.Sent)) * p.raised(now))
		probe.Padding, probe.Next = p.padding, now.Add(probeInterval)
	}
	if p.state == asking || p.state == probing {
		probe.Measure = p.trips.due(now)
		probe.Next = now.Add(probeInterval)
	}

	return probe
}

// ReceiveMeasured takes in how long a round trip took that was measured, and tells whether a look is due.
func (p *Prober) ReceiveMeasured(took time.Duration, now time.Time) (due bool) {
	if took <= 0 {
		return false
	}
	p.unanswered = 0
	if p.state == resting {
		return false
	}
	p.trips.receive(took, now.Add(-took))

	return true
}

// raised is the share of its padding that the probe under way has come to: slowly at first.
func (p *Prober) raised(now time.Time) float64 {
	passed := probeFor - p.until.Sub(now)

	share := passed.Seconds() / raiseFor.Seconds()

	return min(1, max(raiseFrom, share*share))
}

// Padding is how much the probe that is under way, or not answered yet, has added to what is
// sent, in bit/s.
func (p *Prober) Padding() int {
	if p.state == resting || p.state == asking {
		return 0
	}

	return p.padding
}

// fail puts the next probe off. One that fails tells nothing of what the one before it has proved:
// what goes out since then may yet be too much.
func (p *Prober) fail(now time.Time) {
	relapsed := !p.proved.IsZero() && now.Sub(p.proved) < relapse
	switch {
	case p.wait == 0:
		p.wait = firstWait
	case p.state != resting:
		p.wait = max(p.wait, min(time.Duration(float64(p.wait)*waitGrowth), maxProbeWait))
	case relapsed:
		p.wait = min(time.Duration(float64(p.wait)*waitGrowth), maxRelapseWait)
	default:
		p.wait = firstWait
	}
	if p.state == resting {
		p.proved = time.Time{}
	}
	p.state, p.until = resting, now.Add(p.wait)
}
