package bandwidth

import (
	"math"
	"time"
)

const (
	// fall is by how much of a receiver's last estimate its next one is lower, at least, when
	// the receiver has seen a queue grow: libwebrtc tells of such a fall at once, and takes
	// 15 % off what arrives.
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
	// drained is how much of what is sent goes on where a queue stands full, so that it empties.
	drained = 0.85
	// steep is how much of what is sent an estimate is at most that is of a way which has just
	// become far narrower. libwebrtc's is 85 % of what has come in the last second, and for most
	// of that the way was not full yet: it takes still less.
	steep = 0.8
	// spare is how much goes on of what came through a queue that overflows: as a rule, that is
	// less than the way takes, since the least goes on first.
	spare = 0.95
	// settled is how long after it was too much loss may still be reported that came of that:
	// receivers report once a second, and the next layer's keyframe takes a while.
	settled = 2 * time.Second
)

var _ Estimator = (*Reported)(nil)

// Reported is the estimate by what the receiver says: its own estimate (REMB,
// draft-alvestrand-rmcat-remb-03), what it misses (RFC 4585 section 6.2.1), how much is lost and
// how long round trips take (RFC 3550 section 6.4.1), and by round trips that are measured where
// that tells too little. The zero Reported knows of no limit.
//
// A receiver's estimate follows what it is sent: of an application that sends little it
// says little (libwebrtc: at most one and a half times what arrives), and it grows slowly.
// So what it says is a limit only when it falls below what is sent, or rises above the one
// known so far.
type Reported struct {
	limited  bool
	estimate float64

	said        float64 // by REMB; 0: nothing
	first, fell bool    // that was the first one, or one lower than before, since the last look
	from        float64 // where it fell from
	grown       float64 // how many times what it said before, since the last look; 0: it said nothing

	lost        float64
	expected    float64
	windowBegan time.Time
	missing     missing

	trips     trips
	doubt     doubt
	dismissed time.Time // when one turned out to be none

	congestedLast time.Time
	tooMuch       float64 // what was sent, without padding, when that was too much, for the first time in a while
	narrowed      bool    // the last look found the way far narrower than what is sent
	opened, moved time.Time
}

// ReceiveREMB takes in the receiver's estimate, and tells whether a look is due.
func (r *Reported) ReceiveREMB(bitsPerSecond float64) (due bool) {
	if !(bitsPerSecond > 0) {
		return false
	}
	bitsPerSecond = min(bitsPerSecond, maxEstimate)
	r.first = r.first || r.said == 0
	if bitsPerSecond < r.said*(1-fall) {
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
func (r *Reported) flooded() bool { return r.lost > byChance(r.expected) }

// through gives how much came through of what is sent, with and without padding, if too much
// was lost of it: by what is missing, which is known first, or by reports.
func (r *Reported) through(rate, sent float64, now time.Time) (bitsPerSecond float64, is bool) {
	if unsettled(r.congestedLast, now) { // What is missing now was sent before.
		rate, sent = max(rate, r.tooMuch), max(sent, r.tooMuch)
	}
	least := lossy
	if r.doubt.is() || r.trips.probing(now) || unsettled(r.congestedLast, now) {
		least = overflowing
	}
	if share, is := r.missing.overflows(sent, least, now); is {
		rate *= 1 - share
		if share > 1-steep {
			rate *= spare
		}

		return rate, true
	}
	if !r.flooded() {
		return 0, false
	}

	return rate * (1 - r.lost/r.expected), true
}

// Look draws the conclusions, given what the receiver is sent now and how much padding a probe
// adds, in bit/s. It tells whether that is too much. Where a probe is, what is sent beside it
// has not become too much.
func (r *Reported) Look(sent, padding int, now time.Time) (congested bool) {
	rate, before, probing := float64(sent+padding), math.Inf(1), padding > 0
	if r.limited {
		before = r.estimate
	}
	switch {
	case probing:
		r.trips.probed(now)
	case r.trips.echoes(now): // What is missing of what is sent has made room for padding.
		r.missing = missing{}
	}
	estimate := r.listen(rate, before, now)
	if r.doubt.is() {
		r.doubt.sends(rate)
	}
	sudden := r.doubt.sudden
	if r.doubt.over(r.trips.usual(), now) {
		congested, estimate = r.decide(rate, before, estimate)
	}
	if r.fell && r.said < rate && unsettled(r.congestedLast, now) { // It falls on.
		congested, estimate = true, min(r.said, before)
	}
	if through, lost := r.through(rate, float64(sent), now); lost && sent > 0 && (probing || through < estimate) {
		congested, estimate = true, min(through, estimate)
	}
	r.first, r.fell, r.from, r.grown = false, false, 0, 0
	if r.narrowed = congested && !probing && (sudden || estimate < rate*steep); congested {
		r.congested(float64(sent), now)
	}
	if congested && probing {
		estimate = max(estimate, min(float64(sent), before))
	}
	if r.limited {
		r.estimate = max(estimate, minEstimate)
	}

	return congested
}

// congested notes that so much was too much.
func (r *Reported) congested(sent float64, now time.Time) {
	if !unsettled(r.congestedLast, now) {
		r.tooMuch = sent
	}
	r.limited, r.congestedLast = true, now
	r.lost, r.expected, r.missing, r.doubt = 0, 0, missing{}, doubt{}
	r.trips.varying = r.trips.calm // The queue that has come is not how they vary.
}

// listen gives what the receiver's own estimate makes of the one so far. Where that falls below what
// is sent, that may be too much. How much is, it says if it was about what is sent before it fell:
// after a pause it grows slowly. Falls that may be of a probe are for the Prober to look into.
func (r *Reported) listen(rate, before float64, now time.Time) (estimate float64) {
	fallen := r.fell && r.said < rate
	low := r.first && r.said < rate*(1-shortfall)
	if (fallen || low) && !r.trips.probing(now) && !r.fresh(now) {
		r.doubt.begin(low || r.from >= rate*caughtUp, now)
	}
	if r.limited && !r.fell { // What the receiver says may be more than what losses or delay have told.
		return max(before, min(r.said, before*r.grown))
	}

	return before
}

// decide ends a doubt that is over: by what the receiver says, or so that the queue empties.
func (r *Reported) decide(rate, before, estimate float64) (congested bool, now float64) {
	d := r.doubt
	r.doubt = doubt{}
	switch {
	case d.said && r.said < rate:
		return true, min(r.said, before)
	case d.said || d.decided && r.trips.stand(d.least):
		return true, min(rate*drained, before)
	default:
		return false, estimate
	}
}

// Narrowed tells whether the last look found that the way has become far narrower than what is
// sent. Then the estimate is still too high, and its queue is full: what is the least goes on,
// and Limit tells what that is.
func (r *Reported) Narrowed() bool { return r.narrowed }

// Limit notes that nothing is known but that so much passes, until a probe has shown more.
func (r *Reported) Limit(bitsPerSecond int) {
	r.estimate = max(min(r.estimate, float64(bitsPerSecond)), minEstimate)
}

// Usual is how long round trips take at most as long as there is no queue; 0: that is not known.
func (r *Reported) Usual() time.Duration { return r.trips.usual() }

// Fell tells whether the receiver's estimate has fallen since the last look.
func (r *Reported) Fell() bool { return r.fell }

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
