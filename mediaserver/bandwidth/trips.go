package bandwidth

import "time"

const (
	// standing is how much longer than the shortest a round trip is where a queue may stand full.
	// What goes on into a full queue delays nothing further, so the receiver's estimate does not
	// fall, and a little too much loses little.
	standing = 150 * time.Millisecond
	// drains is how long a queue takes to empty at most. Round trips that are still as long then,
	// maxCuts times, have become longer for another reason, as when a client has moved to a mobile
	// network.
	drains  = 4 * time.Second
	maxCuts = 2
	// varyingGain is how much of what is known of how round trips vary each one changes (RFC 6298
	// has a fourth, of one a round trip; here some ten seconds have to be remembered).
	varyingGain = 0.125
	// shortestFor is how long the shortest round trip counts, and as long again at most: the way
	// may become a little longer.
	shortestFor = 30 * time.Second
)

// trips is what is known of round trips on the way.
type trips struct {
	shortest time.Duration // lately; 0: none is known
	recent   time.Duration // the shortest since began
	began    time.Time
	last     time.Duration // that was reported, and that no probe can have made long
	varying  time.Duration // by how much such ones differ from those before them
	calm     time.Duration // varying, when one was not long last
	cuts     int           // how often a queue was seen to stand full since one was not long
	padded   time.Time     // when a probe last added something to what is sent
}

// probed notes that a probe may have made a queue now. What tells of it comes a while later.
func (t *trips) probed(now time.Time) { t.padded = now }

// probing tells whether there may be a probe's queue.
func (t *trips) probing(now time.Time) bool { return unsettled(t.padded, now) }

// echoes tells whether what is missing now may be of a probe's queue: that is known a round trip later.
func (t *trips) echoes(now time.Time) bool {
	return !t.padded.IsZero() && now.Sub(t.padded) < t.usual()+deep
}

// receive takes in one that the receiver's reports tell of, and tells whether it is long. Those while a queue
// empties differ by that.
func (t *trips) receive(took time.Duration, emptying bool, now time.Time) (long bool) {
	t.shorten(took, now)
	if !t.probing(now) {
		if t.last > 0 && !emptying {
			t.varying += time.Duration(float64((took-t.last).Abs()-t.varying) * varyingGain)
		}
		t.last = took
	}
	if took < t.usual()+standing {
		t.cuts, t.calm = 0, t.varying

		return false
	}

	return true
}

// shorten takes in how long any round trip took.
func (t *trips) shorten(took time.Duration, now time.Time) {
	if now.Sub(t.began) >= shortestFor {
		t.shortest, t.recent, t.began = t.recent, took, now
	}
	t.recent = min(t.recent, took)
	if t.shortest == 0 || took < t.shortest {
		t.shortest = took
	}
}

// usual is how long round trips take at most as long as there is no queue; 0: it is not known.
func (t *trips) usual() time.Duration { return t.shortest + 2*t.varying }

// stand tells whether round trips that all took as long at least are of a queue that stands full. If less being sent
// did not make them shorter, they are not.
func (t *trips) stand(least time.Duration) bool {
	if t.cuts == maxCuts && least > 0 {
		t.shortest, t.recent, t.cuts = least, least, 0

		return false
	}
	t.cuts++

	return true
}

// ReceiveRoundTrip takes in how long a round trip took that the receiver's reports tell of, and
// tells whether a look is due.
func (r *Reported) ReceiveRoundTrip(took time.Duration, now time.Time) (due bool) {
	long := took > 0 && r.trips.receive(took, unsettled(r.congestedLast, now), now)
	emptying := !r.congestedLast.IsZero() && now.Sub(r.congestedLast) < drains
	if !long || emptying || r.doubt.is() || r.trips.probing(now) || unsettled(r.dismissed, now) {
		return false
	}
	r.doubt.begin(false, now)

	return true
}
