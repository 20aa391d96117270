package bandwidth

import "time"

const (
	// lately is how long before the end of a probe a round trip is about it.
	lately = 100 * time.Millisecond
	// swollen is how much longer than usual a round trip is in a probe that is too much: what is
	// too much by a fifth makes a queue of 140 ms. Where the receiver's estimate has fallen, one
	// that is slightly longer is of a queue as well.
	swollen  = 60 * time.Millisecond
	slightly = 30 * time.Millisecond
)

// probeTrips are the round trips of one probe.
type probeTrips struct {
	usual    time.Duration // as long as there is no queue; 0: it is not known
	began    time.Time
	measured time.Time // when one was last
	fell     time.Time // when the receiver's estimate did; zero: it has not, or of a burst
	short    time.Time // when the last one that was not swollen was measured
	row      int       // so many in a row were
	long     bool      // two in a row were, or one far, or slightly when the receiver's estimate had fallen
}

// due tells whether one is to be measured now.
func (t *probeTrips) due(now time.Time) bool {
	if now.Sub(t.measured) < measureEvery {
		return false
	}
	t.measured = now

	return true
}

// doubt notes that the receiver's estimate has fallen.
func (t *probeTrips) doubt(now time.Time) {
	if t.fell.IsZero() {
		t.fell = now
	}
}

// receive takes in one that was measured from a time on.
func (t *probeTrips) receive(took time.Duration, measured time.Time) {
	if measured.Before(t.began) {
		return
	}
	if !t.fell.IsZero() && !measured.Before(t.fell) {
		t.long, t.fell = t.long || took >= t.usual+slightly, time.Time{}
	}
	if took < t.usual+swollen || t.usual == 0 {
		t.short, t.row = measured, 0

		return
	}
	t.row++
	t.long = t.long || t.row == 2 || took >= t.usual+2*swollen
}

// passed tells that the probe is not too much: one that was measured near its end was short.
func (t *probeTrips) passed() bool { return t.short.Sub(t.began) >= probeFor-lately }
