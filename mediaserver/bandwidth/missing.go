package bandwidth

import (
	"math"
	"time"
)

const (
	// together is how far apart what is missing comes from one queue that overflows.
	together = 200 * time.Millisecond
	// overflowing is how long that goes on at least where a queue is known of, or suspected. What
	// is missing after an outage, however much it is, a stream's receiver asks for at once.
	overflowing = 150 * time.Millisecond
	// lossy is how long it goes on at least where nothing else tells of a queue: for a moment, a way
	// loses much of other things, too, and many streams tell of an outage one after another.
	lossy = 450 * time.Millisecond
	// missingWindow is how long what is missing counts.
	missingWindow = time.Second
)

// missing is what a receiver misses and asks for (RFC 4585 section 6.2.1): it tells of a queue
// that overflows a round trip after it does. The zero missing is nothing.
type missing struct {
	began, last time.Time
	packets     int
	span        int // how many were sent meanwhile
	octets      int
}

// ReceiveMissing takes in what the receiver has just asked for the first time, of how many that
// were sent since it asked last, and tells whether a look is due.
func (r *Reported) ReceiveMissing(packets, span, octets int, now time.Time) (due bool) {
	m := &r.missing
	if packets <= 0 || unsettled(r.moved, now) {
		return false
	}
	if now.Sub(m.last) > together || now.Sub(m.began) > missingWindow {
		*m = missing{began: now, last: now} // What was missing first came of what was before.

		return false
	}
	m.last = now
	m.packets += packets
	m.span += span
	m.octets += octets

	return now.Sub(m.began) >= overflowing
}

// overflows gives the share that is missing of what is sent, in bit/s, if that is more than a way
// would lose by chance that loses as much as is tolerated, and has gone on for so long at least.
func (m *missing) overflows(sent float64, least time.Duration, now time.Time) (share float64, is bool) {
	passed := m.last.Sub(m.began)
	if passed < least || now.Sub(m.last) > together {
		return 0, false
	}
	lost := float64(m.packets)
	expected := max(float64(m.span), sent*passed.Seconds()/8*lost/float64(m.octets))

	return min(lost/expected, 1), byChance(expected) < lost
}

// byChance is how many of so many packets a way loses at most that loses as much as is tolerated.
func byChance(expected float64) float64 {
	return tolerated*expected + math.Sqrt(tolerated*(1-tolerated)*expected) + chance
}
