package bandwidth

import "time"

const (
	// meterWindow is what is counted together: a keyframe weighs no more than its second.
	meterWindow = time.Second
	// meterShortest is the least time that says something of a rate.
	meterShortest = 100 * time.Millisecond
)

// Meter measures how much comes of a layer. The zero Meter has measured nothing. It changes
// in place, and costs no memory.
type Meter struct {
	began  time.Time
	octets int
	rate   float64 // bit/s, of the windows that have passed
}

// Add counts what has come.
func (m *Meter) Add(octets int, now time.Time) {
	switch passed := now.Sub(m.began); {
	case m.began.IsZero() || passed >= 4*meterWindow: // It was silent.
		*m = Meter{began: now}
	case passed >= meterWindow:
		m.rate = m.measured(passed)
		m.began, m.octets = now, 0
	}
	m.octets += octets
}

// measured is the rate with the window that is open: half of it is what was before.
func (m *Meter) measured(passed time.Duration) float64 {
	now := float64(m.octets) * 8 / passed.Seconds()
	if m.rate == 0 {
		return now
	}

	return (m.rate + now) / 2
}

// Rate is in bit/s; 0 while nothing is known, and of what is silent.
func (m *Meter) Rate(now time.Time) int {
	switch passed := now.Sub(m.began); {
	case m.began.IsZero() || passed >= 4*meterWindow:
		return 0
	case passed >= meterWindow:
		return int(m.measured(passed))
	case m.rate == 0 && passed >= meterShortest:
		return int(m.measured(passed))
	default:
		return int(m.rate)
	}
}
