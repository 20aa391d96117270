package rtc

import (
	"slices"
	"time"
)

// roundTrips measures the round trip to a sender by what it sends again: the time from asking for a packet to its
// arrival. The server sends no STUN checks, and senders' reports answer none of ours, so there is nothing else that
// every client does.
type roundTrips struct {
	last [8]time.Duration
	n    int
}

// add notes a time from the first asking for a packet to its arrival.
func (r *roundTrips) add(d time.Duration) {
	r.last[r.n%len(r.last)] = d
	r.n++
}

// estimate is the lower quartile of the last times; 0: none is known. A request or an answer that was lost makes a time
// longer, and a packet that was merely late makes it shorter: neither is to count, while either is rare.
func (r *roundTrips) estimate() time.Duration {
	n := min(r.n, len(r.last))
	if n == 0 {
		return 0
	}
	last := r.last
	slices.Sort(last[:n])

	return last[n/4]
}
