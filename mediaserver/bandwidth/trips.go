package bandwidth

import "time"

// trips is what round trips tell of a queue on the way.
type trips struct {
	shortest  time.Duration // 0: none is known
	longSince time.Time     // zero: the last was not long
	cut       time.Time     // when a queue was seen to stand full last
	full      bool          // a queue is, since the last look
	quiet     time.Time     // until then long ones are of a probe's queue
	last      time.Duration // the last one that no probe can have made long; 0: none is known
}

// probed notes that a probe may have made a queue now. What tells of it comes a while later.
func (t *trips) probed(now time.Time) { t.longSince, t.quiet = time.Time{}, now.Add(settled) }

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
		t.last = took
	case r.probed && t.last > 0 && took > t.last+swollen:
		t.full = true

		return true
	}
	if took < t.shortest+standing {
		t.longSince = time.Time{}

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
	case !t.cut.IsZero() && t.longSince.Before(t.cut): // It would have emptied.
		*t = trips{shortest: took}

		return false
	}
	t.cut, t.full = now, true

	return true
}
