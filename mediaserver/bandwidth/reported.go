package bandwidth

import (
	"math"
	"time"
)

const (
	// fall is by how much of a receiver's last estimate its next one is lower, at least, when
	// the receiver has seen a queue grow: libwebrtc tells of such a fall at once, and takes
	// 15 % off what arrives. In a probe any fall will do: the estimate may be low already.
	fall = 0.03
	// shortfall is how far a receiver's first estimate is below what it is sent if it has seen
	// a queue grow before. Without, it is what arrived, give or take who has just come.
	shortfall = 0.25
	// opening is for how long after a stream has begun, or gone on, a receiver's estimate may
	// be by what came in its beginning: libwebrtc's counts what came in the last second.
	opening = 2 * time.Second
	// caughtUp is how much of what is sent an estimate has to have been to be about it.
	caughtUp = 0.9
	// tolerated is the share of lost packets that is no sign of a queue that is full:
	// libwebrtc's, whose loss-based controller lowers the rate above a tenth.
	tolerated = 0.1
	// window is how long losses count in full, and half as much for as long again: a way whose
	// queue stays full loses little more than is tolerated, and delays no longer grow.
	window = 6 * time.Second
	// chance is how many packets more than that are lost by chance, beside one standard
	// deviation.
	chance = 3
	// standing is how much longer than the shortest a round trip is while a queue stands full,
	// for as long as standingFor at least. What goes on into a full queue delays nothing
	// further, so the receiver's estimate does not fall, and a little too much loses little.
	standing    = 150 * time.Millisecond
	standingFor = 900 * time.Millisecond
	// swollen is how much longer than before it a round trip is in a probe that is too much. What
	// is too much by a fourth makes a queue of 180 ms; not each receiver sees that in time.
	swollen = 100 * time.Millisecond
	// distrust is for how long a receiver that has not noticed a queue which stood full is not
	// believed. Not for good: round trips may have grown on the way back, of which it knows nothing.
	distrust = 30 * time.Second
	// drained is how much of what is sent then goes on, so that the queue empties.
	drained = 0.85
	// drains is how long it takes at most. Round trips that are still as long then have become
	// longer for another reason, as when a client has moved to a mobile network.
	drains = 4 * time.Second
	// steep is how much of what is sent an estimate is at most that is of a way which has just
	// become far narrower. libwebrtc's is 85 % of what has come in the last second, and for most
	// of that the way was not full yet: it takes still less.
	steep = 0.8
	// settled is how long after it was too much loss may still be reported that came of that:
	// receivers report once a second, and the next layer's keyframe takes a while.
	settled = 2 * time.Second
)

var _ Estimator = (*Reported)(nil)

// Reported is the estimate by what the receiver says: its own estimate (REMB,
// draft-alvestrand-rmcat-remb-03), how much is lost and how long round trips take (RFC 3550
// section 6.4.1). The zero Reported knows of no limit.
//
// A receiver's estimate follows what it is sent: of an application that sends little it
// says little (libwebrtc: at most one and a half times what arrives), and it grows slowly.
// So what it says is a limit only when it falls below what is sent, or rises above the one
// known so far.
type Reported struct {
	limited  bool
	estimate float64

	said          float64 // by REMB; 0: nothing
	probed        bool    // a probe was under way at the last look
	first, fell   bool    // that was the first one, or one lower than before, since the last look
	from          float64 // where it fell from
	opened        time.Time
	grown         float64 // how many times what it said before, since the last look; 0: it said nothing
	lost          float64
	expected      float64
	windowBegan   time.Time
	congestedLast time.Time
	unnoticed     time.Time // when a queue stood full last though it had not fallen; zero: it has fallen since
	narrowed      bool      // the last look found the way far narrower than what is sent
	moved         time.Time

	trips trips
}

// ReceiveREMB takes in the receiver's estimate, and tells whether a look is due.
func (r *Reported) ReceiveREMB(bitsPerSecond float64) (due bool) {
	if !(bitsPerSecond > 0) {
		return false
	}
	bitsPerSecond = min(bitsPerSecond, maxEstimate)
	r.first = r.first || r.said == 0
	if bitsPerSecond < r.said*(1-fall) || r.probed && bitsPerSecond < r.said {
		r.fell, r.from = true, max(r.from, r.said)
	}
	if r.said > 0 {
		r.grown = max(r.grown, 1) * bitsPerSecond / r.said
	}
	r.said = bitsPerSecond

	return r.first || r.fell || r.limited
}

// ReceiveLoss takes in how many packets were lost of those that should have come since the
// receiver's last report, and tells whether a look is due. What is lost in an outage of the
// way, which is no queue, is not to be among them.
func (r *Reported) ReceiveLoss(lost, expected int, now time.Time) (due bool) {
	if expected <= 0 || lost < 0 || unsettled(r.congestedLast, now) || unsettled(r.moved, now) {
		return false
	}
	if now.Sub(r.windowBegan) > window {
		r.windowBegan, r.lost, r.expected = now, r.lost/2, r.expected/2
	}
	r.lost += float64(min(lost, expected))
	r.expected += float64(expected)

	return r.flooded()
}

// flooded tells that more was lost than a way that loses as much as is tolerated would
// lose by chance.
func (r *Reported) flooded() bool {
	return r.lost > tolerated*r.expected+math.Sqrt(tolerated*(1-tolerated)*r.expected)+chance
}

// Look draws the conclusions, given what the receiver is sent now and how much padding a probe
// adds, in bit/s. It tells whether that is too much. Where a probe is, what is sent beside it
// has not become too much.
func (r *Reported) Look(sent, padding int, now time.Time) (congested bool) {
	rate, before := float64(sent+padding), r.estimate
	if r.probed = padding > 0; r.probed {
		r.trips.probed(now)
	}
	if !r.limited {
		before = math.Inf(1)
	}
	switch {
	case r.fallen(rate, padding > 0, now), r.first && r.said < rate*(1-shortfall) && !r.fresh(now):
		congested = true
		r.estimate = min(r.said, before)
	case r.limited && r.fell:
		r.estimate = min(max(r.said, rate), before)
	case r.limited: // What the receiver says may be more than what losses or delay have told.
		r.estimate = max(before, min(r.said, before*r.grown))
	}
	if r.flooded() {
		through := rate * (1 - r.lost/r.expected)
		if r.limited || congested {
			through = min(through, r.estimate)
		}
		congested = true
		r.estimate = through
	}
	switch {
	case r.fell:
		r.unnoticed = time.Time{}
	case r.trips.full && !r.probed:
		r.unnoticed = now
	}
	if r.trips.full && !congested {
		congested = true
		r.estimate = min(rate*drained, before)
	}
	r.trips.full = false
	r.narrowed = congested && padding == 0 && r.estimate < rate*steep
	r.first, r.fell, r.from, r.grown = false, false, 0, 0
	if !congested {
		return false
	}
	r.limited, r.congestedLast = true, now
	r.lost, r.expected = 0, 0
	if padding > 0 {
		r.estimate = max(r.estimate, min(float64(sent), before))
	}
	r.estimate = max(r.estimate, minEstimate)

	return true
}

// Narrowed tells whether the last look found that the way has become far narrower than what is
// sent. Then the estimate is still too high, and its queue is full: what is the least goes on.
func (r *Reported) Narrowed() bool { return r.narrowed }

// fallen tells whether the receiver's estimate has fallen because it is sent too much. It has
// where it fell below what is sent. Where it was below before, it is what was sent before:
// after a pause it grows slowly, and a fall on the way says nothing, unless a fall just said
// that it was too much, or a probe is under way.
func (r *Reported) fallen(rate float64, probing bool, now time.Time) bool {
	recent := unsettled(r.congestedLast, now)

	return r.fell && r.said < rate && (probing || recent || !r.fresh(now) && r.from >= rate*caughtUp)
}

// Opens notes that a stream of the receiver's begins, or goes on after a pause: that its
// estimate is low, or falls, is no sign then, for it is by a time in which there was nothing
// of it. What is lost, and how long round trips take, is.
func (r *Reported) Opens(now time.Time) { r.opened = now }

func (r *Reported) fresh(now time.Time) bool {
	return !r.opened.IsZero() && now.Sub(r.opened) < opening
}

// Moves notes that the receiver is reached on another way from now on. Of that nothing is
// known, and what is lost in the move was lost on neither.
func (r *Reported) Moves(now time.Time) { *r = Reported{opened: now, moved: now} }

// unsettled tells whether what is reported may still come of something that has happened;
// zero: it has not.
func unsettled(since, now time.Time) bool { return !since.IsZero() && now.Sub(since) < settled }

// Said is the receiver's own estimate, in bit/s; 0: it has said none. It is credible unless a
// queue has just stood full that the receiver has not noticed.
func (r *Reported) Said(now time.Time) (bitsPerSecond int, credible bool) {
	return int(r.said), r.unnoticed.IsZero() || now.Sub(r.unnoticed) >= distrust
}

// Prove notes that so much was sent, and it was not too much.
func (r *Reported) Prove(bitsPerSecond int) {
	r.estimate = min(max(r.estimate, float64(bitsPerSecond)), maxEstimate)
}

// Estimate is in bit/s of payload, all streams together; not limited: no limit is known.
func (r *Reported) Estimate() (bitsPerSecond int, limited bool) {
	if !r.limited {
		return maxEstimate, false
	}

	return int(r.estimate), true
}
