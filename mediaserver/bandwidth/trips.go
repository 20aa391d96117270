package bandwidth

import "time"

// varyingGain is how much of what is known of how round trips vary each one changes (RFC 6298
// has a fourth, of one a round trip; here some ten seconds have to be remembered).
const varyingGain = 0.125

// maxCuts is how often the same queue is taken for one of ours, where probes hide what comes of that.
const maxCuts = 2

// trips is what round trips tell of a queue on the way.
type trips struct {
	shortest  time.Duration // 0: none is known
	longSince time.Time     // zero: the last was not long
	cut       time.Time     // when a queue was seen to stand full last
	cuts      int           // how often since one was not long
	full      bool          // a queue is, since the last look
	quiet     time.Time     // until then long ones are of a probe's queue
	last      time.Duration // the last one that no probe can have made long; 0: none is known
	varying   time.Duration // by how much such ones differ from those before them
}

// probed notes that a probe may have made a queue now. What tells of it comes a while later.
func (t *trips) probed(now time.Time) { t.longSince, t.quiet = time.Time{}, now.Add(settled) }

// passed takes in a round trip that no probe can have made long. One while a queue empties differs by that.
func (t *trips) passed(took time.Duration, emptying bool) {
	if t.last > 0 && !emptying {
		differs := (took - t.last).Abs()
		t.varying += time.Duration(float64(differs-t.varying) * varyingGain)
	}
	t.last = took
}

// ReceiveRoundTrip takes in how long a round trip took, and tells whether a look is due.
func (r *Reported) ReceiveRoundTrip(took time.Duration, now time.Time) (due bool) {
	t := &r.trips
	if took <= 0 {
		return false
	}
	if t.shortest == 0 || took < t.shortest {
		t.shortest = took
	}
	switch {
	case !now.Before(t.quiet):
		t.passed(took, unsettled(r.congestedLast, now))
	case r.probed && t.last > 0 && took > t.last+swollen+2*t.varying:
		t.full = true

		return true
	}
	if took < t.shortest+standing+t.varying {
		t.longSince, t.cuts = time.Time{}, 0

		return false
	}
	if now.Before(t.quiet) {
		return false
	}
	if t.longSince.IsZero() {
		t.longSince = now
	}
	switch {
	case now.Sub(t.longSince) < standingFor, !t.cut.IsZero() && now.Sub(t.cut) < drains:
		return false
	case !t.cut.IsZero() && (t.longSince.Before(t.cut) || t.cuts == maxCuts): // It would have emptied.
		*t = trips{shortest: took, varying: t.varying}
		r.unnoticed = time.Time{}

		return false
	}
	t.cut, t.full = now, true
	t.cuts++

	return true
}
