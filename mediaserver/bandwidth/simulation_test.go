package bandwidth

import (
	"slices"
	"testing"
	"time"
)

const tick = 10 * time.Millisecond

// link is a way of a capacity (bit/s) with a queue of 300 ms that drops what does not fit.
type link struct {
	capacity, queue float64 // bit/s, bits
	loss            float64 // the share of what has passed the queue that is lost
	depth           float64 // of the queue, in seconds; 0: 0.3
	dropped         float64 // bits, lost ones among them
}

// carry takes in what is sent in one tick, and gives what arrives.
func (l *link) carry(bits float64) (arrived float64) {
	l.queue += bits
	depth := l.depth
	if depth == 0 {
		depth = 0.3
	}
	if over := l.queue - depth*l.capacity; over > 0 {
		l.dropped += over
		l.queue -= over
	}
	arrived = min(l.queue, l.capacity*tick.Seconds())
	l.queue -= arrived
	l.dropped += arrived * l.loss

	return arrived * (1 - l.loss)
}

// receiver estimates as libwebrtc does (AimdRateControl): up to one and a half times what
// arrives, by 8 % a second, near the last limit by 24 kbit/s a second, and down to 85 % of what
// arrives when the queue grows.
type receiver struct {
	// slow makes it notice 80 ms of a queue instead of 20, and say so 0.3 s later.
	slow bool

	estimate, said, arriving, near float64
	delays                         []float64
	saidAt                         time.Time
	holds                          time.Time
}

func (r *receiver) receive(l *link, arrived float64, now time.Time) (remb float64) {
	r.arriving += (arrived/tick.Seconds() - r.arriving) * 0.02
	delay := l.queue / l.capacity
	r.delays = append(r.delays, delay)
	if len(r.delays) > 30 {
		r.delays = r.delays[1:]
	}
	noticed := 0.02
	if r.slow {
		noticed = 0.08
	}
	grows := delay-r.delays[0] > noticed
	switch {
	case r.estimate == 0:
		if now.Sub(start) > 5*time.Second || grows {
			r.estimate = r.arriving
		}
	case grows && now.After(r.holds):
		r.near = r.arriving
		r.estimate = min(r.estimate, 0.85*r.arriving)
		r.holds = now.Add(300 * time.Millisecond)
	case !grows && now.After(r.holds):
		step := r.estimate * 0.08 * tick.Seconds()
		if r.arriving > 1.2*r.near {
			r.near = 0
		}
		if r.near > 0 {
			step = 24_000 * tick.Seconds()
		}
		r.estimate = max(r.estimate, min(r.estimate+step, 1.5*r.arriving+10_000))
	}
	if r.estimate > 0 && (now.Sub(r.saidAt) >= time.Second || r.estimate < 0.97*r.said) {
		r.said, r.saidAt = r.estimate, now

		return r.estimate
	}

	return 0
}

// simulation is a server that sends audio and the highest layer of one sender that fits.
type simulation struct {
	link     link
	receiver receiver
	reported Reported
	prober   Prober
	layer    int
	probe    Probe

	// back is what the way back adds to round trips; nil: nothing. Of video each stream reports once a second.
	back    func() time.Duration
	streams int  // more than one, that report
	silent  bool // the receiver says no estimate

	dropsBefore float64
	sentSince   float64
	missed      float64
	reports     time.Time
	late        []late
}

// late is what the receiver has said, on its way.
type late struct {
	at             time.Time
	remb           float64
	lost, expected int
	trip           time.Duration
	missing        int // octets
	asked          time.Duration
}

var layers = []int{40_000, 40_000 + 150_000, 40_000 + 450_000, 40_000 + 1_200_000}

func (s *simulation) step(now time.Time) {
	sent := layers[s.layer]
	bits := float64(sent+s.probe.Padding) * tick.Seconds()
	s.sentSince += bits
	arrived := s.link.carry(bits)
	if remb := s.receiver.receive(&s.link, arrived, now); remb > 0 && !s.silent {
		at := now.Add(100 * time.Millisecond)
		if s.receiver.slow {
			at = at.Add(300 * time.Millisecond)
		}
		s.late = append(s.late, late{at: at, remb: remb})
	}
	if missing := s.link.dropped - s.missed; missing >= 9_600 { // It asks for it once it gets what came after.
		behind := time.Duration(s.link.queue / s.link.capacity * float64(time.Second))
		share := float64(sent) / float64(sent+s.probe.Padding)
		s.late = append(s.late, late{at: now.Add(100*time.Millisecond + behind), missing: int(missing * share / 8)})
		s.missed = s.link.dropped
	}
	if now.Sub(s.reports) >= time.Second {
		lost := int((s.link.dropped - s.dropsBefore) / 9_600)
		trip := 100*time.Millisecond + time.Duration(s.link.queue/s.link.capacity*float64(time.Second))
		for i := range 1 + s.streams {
			l := late{at: now.Add(100 * time.Millisecond), trip: trip}
			if s.back != nil {
				l.trip += s.back()
			}
			if i == 0 {
				l.lost, l.expected = lost, int(s.sentSince/9_600)
			}
			s.late = append(s.late, l)
		}
		s.reports, s.dropsBefore, s.sentSince = now, s.link.dropped, 0
	}
	slices.SortStableFunc(s.late, func(a, b late) int { return a.at.Compare(b.at) })
	for len(s.late) > 0 && !now.Before(s.late[0].at) {
		switch {
		case s.late[0].remb > 0:
			s.reported.ReceiveREMB(s.late[0].remb)
		case s.late[0].asked > 0:
			s.reported.ReceiveMeasured(s.late[0].asked, now)
			s.prober.ReceiveMeasured(s.late[0].asked, now)
		case s.late[0].missing > 0:
			n := (s.late[0].missing + 1199) / 1200
			s.reported.ReceiveMissing(n, n, s.late[0].missing, now)
		default:
			s.reported.ReceiveLoss(s.late[0].lost, s.late[0].expected, now)
			s.reported.ReceiveRoundTrip(s.late[0].trip, now)
		}
		s.late = s.late[1:]
	}
	fell := s.reported.Fell()
	congested := s.reported.Look(sent, s.prober.Padding(), now)
	if s.reported.Narrowed() {
		s.reported.Limit(layers[1])
	}
	wanted := s.allocate()
	measure, next := s.reported.Measure(now)
	s.probe = s.prober.Look(Sight{
		Wanted: wanted, Sent: sent, Congested: congested, Doubtful: !next.IsZero(), Fell: fell, Usual: s.reported.Usual(),
	}, now)
	if measure || s.probe.Measure {
		trip := 100*time.Millisecond + time.Duration(s.link.queue/s.link.capacity*float64(time.Second))
		if s.back != nil {
			trip += s.back()
		}
		s.late = append(s.late, late{at: now.Add(trip), asked: trip})
	}
	if s.probe.Proved > 0 {
		s.reported.Prove(s.probe.Proved)
		s.allocate()
	}
}

// allocate chooses the layer, and gives what the next one would take.
func (s *simulation) allocate() (wanted int) {
	estimate, limited := s.reported.Estimate()
	s.layer = len(layers) - 1
	for limited && s.layer > 0 && layers[s.layer] > estimate {
		s.layer--
	}
	if s.layer == len(layers)-1 {
		return 0
	}

	return layers[s.layer+1]
}

// A way of 2 Mbit/s, for a while of 500 kbit/s, and then of 2 Mbit/s again.
func TestCapacityFallsAndReturns(t *testing.T) {
	const fallsAt, full = 20 * time.Second, 2_000_000
	for _, narrow := range []float64{475_000, 420_000, 300_000, 200_000} {
		for narrowFor := 10 * time.Second; narrowFor < 40*time.Second; narrowFor += 1300 * time.Millisecond {
			s := simulation{link: link{capacity: full}, layer: 3}
			returns := fallsAt + narrowFor
			var under, back time.Duration
			var droppedLate float64
			highest := 0
			for passed := time.Duration(0); passed < returns+time.Minute; passed += tick {
				switch passed {
				case fallsAt:
					s.link.capacity = narrow
				case fallsAt + 3*time.Second:
					droppedLate = s.link.dropped
				case returns:
					most := 20_000.0      // two packets, of a probe
					if narrow < 210_000 { // The smallest picture all but fills it, so that no probe's queue empties soon.
						most += 40_000 * float64((narrowFor-3*time.Second)/maxProbeWait)
					}
					if lost := s.link.dropped - droppedLate; lost > most {
						t.Errorf("%v for %v: %v bits were dropped later than 3 s after the fall", narrow, narrowFor, lost)
					}
					s.link.capacity = full
				}
				s.step(start.Add(passed))
				if passed < fallsAt && s.layer != 3 {
					t.Fatalf("layer %d before the fall", s.layer)
				}
				if passed >= fallsAt && under == 0 && layers[s.layer] <= int(narrow) {
					under = passed - fallsAt
				}
				if passed > fallsAt+3*time.Second && passed < returns {
					highest = max(highest, s.layer)
				}
				if passed > returns && back == 0 && s.layer == 3 {
					back = passed - returns
				}
			}
			if under == 0 || under > 2500*time.Millisecond {
				t.Errorf("%v for %v: under it after %v", narrow, narrowFor, under)
			}
			if highest > 1 {
				t.Errorf("%v for %v: layer %d, for which there is no room, was sent", narrow, narrowFor, highest)
			}
			if back == 0 || back > 10*time.Second {
				t.Errorf("%v for %v: all of it again after %v", narrow, narrowFor, back)
			}
			if s.layer != 3 {
				t.Errorf("%v for %v: layer %d in the end", narrow, narrowFor, s.layer)
			}
		}
	}
}

// A receiver on a busy machine notices late that a probe is too much. Of what the probes of half
// a minute make the queue drop there is little then; and there is all of it again when there is room.
func TestProbesOfASlowReceiver(t *testing.T) {
	const fallsAt, settles, narrowFor, back = 20 * time.Second, 3 * time.Second, 30 * time.Second, 20 * time.Second
	const full, most = 2_000_000, 300_000 // bit/s, bits
	for narrow := 200_000.0; narrow < 490_000; narrow += 7_000 {
		s := simulation{link: link{capacity: full}, layer: 3, receiver: receiver{slow: true}}
		var before float64
		highest := 0
		for passed := time.Duration(0); passed < fallsAt+narrowFor+back; passed += tick {
			switch passed {
			case fallsAt:
				s.link.capacity = narrow
			case fallsAt + settles:
				before = s.link.dropped
			case fallsAt + narrowFor:
				if dropped := s.link.dropped - before; dropped > most {
					t.Errorf("%v bit/s: probes made the queue drop %v bits", narrow, dropped)
				}
				s.link.capacity = full
			}
			s.step(start.Add(passed))
			if passed > fallsAt+settles && passed < fallsAt+narrowFor {
				highest = max(highest, s.layer)
			}
		}
		if highest > 1 {
			t.Errorf("%v bit/s: layer %d, for which there is no room, was sent", narrow, highest)
		}
		if s.layer != 3 {
			t.Errorf("%v bit/s: layer %d %v after there was room", narrow, s.layer, back)
		}
	}
}

// A way that loses much for a while makes no queue, so the receiver's estimate stays far above what it is
// sent then, and does not grow in a probe.
func TestLossesEnd(t *testing.T) {
	const begin, end, back = 20 * time.Second, 30 * time.Second, 20 * time.Second
	for _, loss := range []float64{0.2, 0.3, 0.4} {
		s := simulation{link: link{capacity: 10_000_000}, layer: 3}
		lowest := 3
		for passed := time.Duration(0); passed < end+back; passed += tick {
			switch passed {
			case begin:
				s.link.loss = loss
			case end:
				s.link.loss = 0
			}
			s.step(start.Add(passed))
			lowest = min(lowest, s.layer)
		}
		if lowest == 3 || s.layer != 3 {
			t.Errorf("%v lost: layer %d at least, and %d %v after that has ended", loss, lowest, s.layer, back)
		}
	}
}
