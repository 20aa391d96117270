package channel

import (
	"sync"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/bandwidth"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
)

const (
	// lookInterval is the least time between two looks: padding goes out in handfuls.
	lookInterval = 20 * time.Millisecond
	// maxPadGap is for how long padding is made up at once: after a hold-up there is no flood.
	maxPadGap = 2 * lookInterval
)

var _ rtc.Reports = (*supply)(nil)

// supply is how much one receiver can be sent, by what its client says. It has a timer only
// while there is something to find out or to wait for.
type supply struct {
	// look has the channel look at it.
	look func()

	mu       sync.Mutex // a leaf: readers take it; guards all that follows
	reported bandwidth.Reported
	prober   bandwidth.Prober
	timer    *time.Timer
	due      time.Time // when look is called next; zero: it is not
	looked   time.Time // when it was looked at last
	divided  bool      // it is, because there is a limit, or was when it was looked at last
	ended    bool
	wanting  bool      // a round trip is to be measured
	padded   time.Time // when padding was sent last
}

// ReceiveREMB takes in what the client holds to be possible, in bit/s.
func (s *supply) ReceiveREMB(bitsPerSecond float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reported.ReceiveREMB(bitsPerSecond) {
		s.wake(time.Now())
	}
}

// ReceiveLoss takes in how many packets were lost of those that should have come.
func (s *supply) ReceiveLoss(lost, expected int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reported.ReceiveLoss(lost, expected, now) {
		s.wake(now)
	}
}

// ReceiveMissing takes in what the client has asked for the first time, since it has not come.
func (s *supply) ReceiveMissing(missing fanout.Missing, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reported.ReceiveMissing(missing.Packets, missing.Span, missing.Bytes, now) {
		s.wake(now)
	}
}

// ReceiveRoundTrip takes in how long a round trip took.
func (s *supply) ReceiveRoundTrip(took time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reported.ReceiveRoundTrip(took, now) {
		s.wake(now)
	}
}

// ReceiveMeasured takes in how long a round trip took that was measured.
func (s *supply) ReceiveMeasured(took time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	doubt, probe := s.reported.ReceiveMeasured(took, now), s.prober.ReceiveMeasured(took, now)
	if doubt || probe {
		s.wake(now)
	}
}

// Moved notes that the client is reached on another path, of which nothing is known.
func (s *supply) Moved(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported.Moves(now)
	s.prober = bandwidth.Prober{}
	if s.divided {
		s.wake(now)
	}
}

// wake has look called at a time, unless it is called before. However much a client says, that
// is not more often than each lookInterval. Call with mu held.
func (s *supply) wake(at time.Time) {
	if earliest := s.looked.Add(lookInterval); at.Before(earliest) {
		at = earliest
	}
	if s.ended || !s.due.IsZero() && !at.Before(s.due) {
		return
	}
	s.due = at
	if s.timer == nil {
		s.timer = time.AfterFunc(time.Until(at), s.look)
	} else {
		s.timer.Reset(time.Until(at))
	}
}

// end has look called no more.
func (s *supply) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// opens notes that a stream begins, or goes on.
func (s *supply) opens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported.Opens(time.Now())
}

// isDivided tells whether what the client is sent is not simply everything.
func (s *supply) isDivided() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, limited := s.reported.Estimate()

	return limited || s.divided
}

// conclude draws the conclusions from what the client has said, given what it is sent, in bit/s.
// divided: that has to be divided. Once there is no limit any more it still has to be, until
// everybody has what there is (settle).
func (s *supply) conclude(sent int, now time.Time) (estimate int, divided bool, sight bandwidth.Sight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due, s.looked = time.Time{}, now
	sight = bandwidth.Sight{Sent: sent, Fell: s.reported.Fell(), Usual: s.reported.Usual()}
	sight.Congested = s.reported.Look(sent, s.prober.Padding(), now)
	measure, next := s.reported.Measure(now)
	if sight.Doubtful = !next.IsZero(); sight.Doubtful {
		s.wake(next)
	}
	s.wanting = s.wanting || measure
	estimate, limited := s.reported.Estimate()
	s.divided = s.divided || limited

	return estimate, s.divided, sight
}

// wantsMeasurement tells whether a round trip is to be measured, once.
func (s *supply) wantsMeasurement() (wants bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wants, s.wanting = s.wanting, false

	return wants
}

// narrowed tells whether what the client is sent was found to be far more than passes now.
func (s *supply) narrowed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.reported.Narrowed()
}

// limit notes that nothing is known but that so much passes, in bit/s.
func (s *supply) limit(bitsPerSecond int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported.Limit(bitsPerSecond)
	s.wake(now)
}

// settle notes that the client gets all that it wants, unless there is a limit.
func (s *supply) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, s.divided = s.reported.Estimate()
}

// probe goes on with finding out whether there is more, and has look called in time; next,
// where it is not zero, is another time for that. It gives how many bytes of padding are to be
// sent now, and whether a probe has proved that there is more.
func (s *supply) probe(sight bandwidth.Sight, next, now time.Time) (padding int, proved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	probe := s.prober.Look(sight, now)
	s.wanting = s.wanting || probe.Measure
	if probe.Proved > 0 {
		s.reported.Prove(probe.Proved)
	}
	for _, at := range []time.Time{probe.Next, next} {
		if !at.IsZero() {
			s.wake(at)
		}
	}
	if probe.Padding > 0 {
		since := min(now.Sub(s.padded), maxPadGap)
		s.padded = now
		padding = int(float64(probe.Padding) / 8 * since.Seconds())
	}

	return padding, probe.Proved > 0
}
