package fanout

import "time"

const (
	// free is how many wishes of one receiver in a row are granted as they come: some
	// losses in a row, or a few toggles, are nobody's fault.
	free = 3
	// calm is how long it takes until one of a receiver's wishes is no longer counted
	// against it.
	calm = 8 * time.Second
	// maxCounted bounds what is counted, and so the gap between two wishes (8 s) and the
	// time until three in a row are granted as they come again (48 s).
	maxCounted = free + 3
)

// pace is one receiver's budget of keyframes, with back-off. Each keyframe costs the
// sender and all of its receivers, so one to whom keyframes bring nothing (it cannot
// decode them, its link loses them, its pauses come and go) gets ever fewer: the
// first three as they come, then one after 1 s, 2, 4, and each 8 s.
type pace struct {
	counted float64   // wishes granted, less one for each calm since
	granted time.Time // the last; may be yet to come
}

// grant tells from when on the receiver's wish may be passed on.
func (p *pace) grant(now time.Time) time.Time {
	if p.granted.After(now) {
		return p.granted
	}
	p.counted = max(0, p.counted-now.Sub(p.granted).Seconds()/calm.Seconds())
	at := now
	if n := int(p.counted + 0.5); n >= free {
		if next := p.granted.Add(time.Second << (n - free)); next.After(now) {
			at = next
		}
	}
	p.counted, p.granted = min(p.counted+1, maxCounted), at

	return at
}

const (
	// keyframesAhead is how many requests a sender may get in a row, before there is one
	// in a second.
	keyframesAhead = 5
	// keyframesKept is how many of these are kept for starts: a receiver that resumes does
	// not wait because others cannot go on.
	keyframesKept = 2
)

// allowance is one sender's budget of keyframes: one in a second, however many
// receivers ask for them; what was not used is saved up to keyframesAhead.
type allowance struct {
	full time.Time // when all of keyframesAhead are there again
}

// next is when the next request may be sent, for somebody's start or for others.
func (a allowance) next(start bool) time.Time {
	missing := time.Duration(keyframesAhead - 1 - keyframesKept) // of keyframesAhead, at most
	if start {
		missing = keyframesAhead - 1
	}

	return a.full.Add(-missing * time.Second)
}

// spend returns what is left after a request.
func (a allowance) spend(now time.Time) allowance {
	if a.full.Before(now) {
		a.full = now
	}

	return allowance{a.full.Add(time.Second)}
}
