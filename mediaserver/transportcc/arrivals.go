// Package transportcc is transport-wide congestion control feedback
// (draft-holmer-rmcat-transport-wide-cc-extensions-01): which of the packets that a
// sender numbered have come, and when, in the words that it finds its rate by.
//
// It is pure: it has no clock, no lock and no goroutine of its own.
package transportcc

import "time"

const (
	// window is how many numbers are remembered, the highest last: a tenth of a second of 100 Mbit/s. Whatever numbers a
	// client makes up, it costs no more memory than this, and a step over more of them no time.
	window = 1024
	// Tick is the resolution of arrival times on the wire (section 3.1.5 of the draft).
	Tick = 250 * time.Microsecond
)

// Arrivals are the packets of one sender that have come. The zero value knows of none.
type Arrivals struct {
	started bool
	// next is the first number that the next feedback tells of, end is one past the highest that has come.
	// Both are extended: the first number that came is itself.
	next, end int64
	// at is when the last window numbers came, in ticks since the beginning of all times; 0: not. It is indexed by the
	// number.
	at [window]int64
	// waiting is how many have come since the last feedback.
	waiting int
	// astray is the number that would follow the last one that was far from all others.
	astray uint16
	// count is that of the next feedback packet.
	count uint8
}

// Record notes that the packet of a number has come at a moment since some beginning, and tells how many wait for
// feedback now. What comes a second time is not noted. A number that is not within a window of the highest is
// noted when the one before it came last: then the sender has begun to count anew, or everything was lost for long.
func (a *Arrivals) Record(number uint16, at time.Duration) (waiting int) {
	if !a.started {
		a.restart(number)
	}
	ahead := int64(int16(number - uint16(a.end-1)))
	if ahead >= window || ahead <= -window {
		if number != a.astray {
			a.astray = number + 1

			return a.waiting
		}
		a.restart(number)
		ahead = 1
	}
	extended := a.end - 1 + ahead
	for ; a.end <= extended; a.end++ {
		*a.slot(a.end) = 0
	}
	slot := a.slot(extended)
	if *slot != 0 {
		return a.waiting
	}
	*slot = 1 + int64(at/Tick)
	// Feedback begins at what came late, though some of it was told before: the sender takes the rest for known.
	a.next = max(min(a.next, extended), a.end-window)
	a.waiting++

	return a.waiting
}

// Waiting is how many have come since the last feedback.
func (a *Arrivals) Waiting() int { return a.waiting }

// restart forgets everything: the next number to come is the first.
func (a *Arrivals) restart(number uint16) {
	*a = Arrivals{started: true, next: int64(number), end: int64(number), astray: a.astray, count: a.count}
}

func (a *Arrivals) slot(number int64) *int64 { return &a.at[number&(window-1)] }
