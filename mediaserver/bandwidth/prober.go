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
	raiseFor       = time.Second
	probeFor       = raiseFor + 500*time.Millisecond // at a fifth too much, a queue of 170 ms: receivers notice 50
	raiseFrom      = 0.1                             // of the padding
	probeSettling  = 500 * time.Millisecond
	saidGrowth     = 4_000                 // bit/s: libwebrtc's slowest growth in a second
	probeInterval  = 20 * time.Millisecond // between two handfuls of padding
	maxProbeWait   = 5 * time.Second       // after a probe that failed: it cost its receiver a queue for a moment
	maxRelapseWait = 2 * time.Minute       // after a layer that was too much: it cost a picture that stood still
	maxDarkWait    = 15 * time.Second      // the same where there is no picture at all
	// relapse is how long after a probe it is that probe's fault when what is sent is too much.
	relapse = 10 * time.Second
)

// Prober says when to find out whether a receiver can be sent more, and how: by padding
// beside what it is sent. The zero Prober has found out nothing.
type Prober struct {
	state   probeState
	until   time.Time // the state lasts
	target  int       // bit/s, media and padding together
	padding int       // of it
	said    int       // by the receiver when the probe began, or the one before it that was unanswered
	// unanswered tells that what the last probe found out is that the receiver's estimate did not grow.
	unanswered bool
	wait       time.Duration // before the next probe; 0: the first
	proved     time.Time     // when the last one succeeded
}

type probeState uint8

const (
	resting probeState = iota
	probing
	settling
)

// Probe is what a Prober wants done.
type Probe struct {
	// Padding is how much padding goes out now, in bit/s.
	Padding int
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
	// Said and Credible are Reported.Said.
	Said     int
	Credible bool
	// Unpadded tells that there is nothing that padding could go beside. Then what is wanted
	// is its own probe.
	Unpadded bool
	// Congested tells that what is sent, padding included, is too much.
	Congested bool
}

// Look goes on.
func (p *Prober) Look(sight Sight, now time.Time) Probe {
	wanted, sent := sight.Wanted, sight.Sent
	switch {
	case sight.Congested:
		p.fail(now)
		p.unanswered = false
	case p.state == settling && !now.Before(p.until) && !sight.Unpadded && !p.risen(sight):
		p.fail(now)
		p.unanswered = true
	case p.state == settling && !now.Before(p.until):
		p.state, p.until, p.proved, p.unanswered = resting, now, now, false

		return Probe{Proved: p.target, Next: now}
	case p.state == probing && !now.Before(p.until):
		p.state, p.until = settling, now.Add(probeSettling)
	}
	if wanted <= sent {
		if p.state != resting {
			p.state, p.until = resting, now
		}
		p.unanswered = false

		return Probe{}
	}
	if p.state == resting && !p.proved.IsZero() && now.Sub(p.proved) > relapse {
		p.wait = min(p.wait, maxProbeWait)
	}
	if p.state == resting && sight.Unpadded && p.until.Sub(now) > maxDarkWait {
		p.until = now.Add(maxDarkWait)
	}
	if p.state == resting && !now.Before(p.until) {
		p.state, p.until = probing, now.Add(probeFor)
		p.target = max(int(float64(wanted)*probeMargin), sent+minPadding)
		if !p.unanswered || sight.Said < p.said { // Else the answer may have come too late.
			p.said = sight.Said
		}
	}
	if p.state == probing && sight.Unpadded {
		p.padding = 0

		return Probe{Next: p.until}
	}
	if p.state == probing {
		p.padding = int(float64(max(0, p.target-sent)) * p.raised(now))

		return Probe{Padding: p.padding, Next: now.Add(probeInterval)}
	}

	return Probe{Next: p.until}
}

// raised is the share of its padding that the probe under way has come to.
func (p *Prober) raised(now time.Time) float64 {
	passed := probeFor - p.until.Sub(now)

	return min(1, max(raiseFrom, passed.Seconds()/raiseFor.Seconds()))
}

// risen tells whether the receiver's own estimate, if it has one, has grown in the course of the
// probe, or was above it all the time. On a way that is full it stays: libwebrtc takes it down to
// 85 % of what arrives, where it has been since the way was full last. Where losses alone told of
// a limit it may be far above, and stays there: it grows to one and a half times what arrives.
func (p *Prober) risen(sight Sight) bool {
	return sight.Said == 0 || sight.Credible && sight.Said >= p.target || sight.Said >= p.said+saidGrowth
}

// Padding is how much the probe that is under way, or not answered yet, has added to what is
// sent, in bit/s.
func (p *Prober) Padding() int {
	if p.state == resting {
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
