package bandwidth

import (
	"math/rand/v2"
	"testing"
	"time"
)

// way is what happens to a simulation from begin until end.
type way struct {
	capacity float64 // before and after, bit/s
	loss     float64 // meanwhile
	// narrow is the capacity meanwhile, and how it changes; nil: it stays.
	narrow func(random *rand.Rand) float64
	often  int // how many ticks that lasts; 0: all the time
	// back is what the way back adds to round trips, meanwhile and at all times; nil: nothing.
	back       func(random *rand.Rand, meanwhile bool) time.Duration
	streams    int
	silent     bool
	begin, end time.Duration
}

// run gives for how long the highest layer was sent in the minute after the end, and whether it was in the end.
func (w way) run(random *rand.Rand) (all time.Duration, atLast bool) {
	s := simulation{link: link{capacity: w.capacity}, layer: 3, streams: w.streams, silent: w.silent}
	s.receiver.slow = random.IntN(3) == 0
	meanwhile := false
	if w.back != nil {
		s.back = func() time.Duration { return w.back(random, meanwhile) }
	}
	for passed := time.Duration(0); passed < w.end+time.Minute; passed += tick {
		before := meanwhile
		meanwhile = passed >= w.begin && passed < w.end
		s.link.loss = 0
		switch {
		case !meanwhile:
			s.link.capacity = w.capacity
		case w.narrow != nil && (!before || w.often > 0 && random.IntN(w.often) == 0):
			s.link.capacity = w.narrow(random)
		}
		if meanwhile {
			s.link.loss = w.loss
		}
		s.step(start.Add(passed))
		if passed >= w.end && s.layer == len(layers)-1 {
			all += tick
		}
	}

	return all, s.layer == len(layers)-1
}

// Whatever a way was like for a while: a minute after it has become wide again there is all of it, and that was so
// for most of the minute.
func TestWaysThatBecomeWideAgain(t *testing.T) {
	anything := func(random *rand.Rand) float64 { return 60_000 + random.Float64()*1_500_000 }
	varying := func(by int) func(*rand.Rand, bool) time.Duration {
		return func(random *rand.Rand, _ bool) time.Duration {
			return time.Duration(random.IntN(by)) * time.Millisecond
		}
	}
	longer := func(by time.Duration) func(*rand.Rand, bool) time.Duration {
		return func(*rand.Rand, bool) time.Duration { return by }
	}
	for name, w := range map[string]way{
		"narrow":                               {capacity: 2e6, narrow: anything},
		"narrow, and nothing is said":          {capacity: 2e6, narrow: anything, silent: true},
		"shared with others":                   {capacity: 2e6, narrow: anything, often: 200},
		"shared with others, and nothing said": {capacity: 2e6, narrow: anything, often: 200, silent: true},
		"round trips vary by 100 ms":           {capacity: 2e6, narrow: anything, back: varying(100)},
		"round trips vary by 200 ms":           {capacity: 2e6, narrow: anything, back: varying(200)},
		"those of six streams do":              {capacity: 2e6, narrow: anything, back: varying(200), streams: 5},
		"those of six streams, and nothing said": {
			capacity: 2e6, narrow: anything, back: varying(200), streams: 5, silent: true,
		},
		"the way back is full": {capacity: 2e6, back: func(_ *rand.Rand, meanwhile bool) time.Duration {
			if meanwhile {
				return 300 * time.Millisecond
			}

			return 0
		}},
		"round trips of 1.5 s": {capacity: 2e6, narrow: anything, back: longer(1400 * time.Millisecond)},
		"and nothing is said": {
			capacity: 2e6, narrow: anything, back: longer(1400 * time.Millisecond), silent: true,
		},
		"5 % are lost":                    {capacity: 5e6, loss: 0.05},
		"9 % are lost":                    {capacity: 5e6, loss: 0.09, back: varying(50)},
		"18 % are lost":                   {capacity: 5e6, loss: 0.18},
		"30 % are lost, and trips vary":   {capacity: 5e6, loss: 0.3, back: varying(150), streams: 3},
		"5 % are lost of a narrow one":    {capacity: 5e6, loss: 0.05, narrow: anything},
		"9 % are lost, and nothing said":  {capacity: 5e6, loss: 0.09, silent: true},
		"30 % are lost, and nothing said": {capacity: 5e6, loss: 0.3, silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			const rounds = 20
			var all time.Duration
			for seed := range uint64(rounds) {
				random := rand.New(rand.NewPCG(seed, 1))
				w.begin = 20 * time.Second
				w.end = w.begin + 5*time.Second + time.Duration(random.IntN(40_000))*time.Millisecond
				had, atLast := w.run(random)
				all += had
				if !atLast {
					t.Errorf("seed %d: not all of it a minute after %v", seed, w.end-w.begin)
				}
			}
			if all/rounds < 40*time.Second {
				t.Errorf("all of it for %v of the minute", all/rounds)
			}
		})
	}
}

// A layer that there is no room for is tried ever more rarely, also where nothing but losses and round trips tells that
// it was too much, and does not stay, however deep the queue.
func TestClimbsThatAreTooHigh(t *testing.T) {
	for _, depth := range []float64{0.3, 1, 3} {
		for _, receiver := range []receiver{{}, {slow: true}} {
			for _, silent := range []bool{false, true} {
				climbs(t, simulation{link: link{depth: depth}, receiver: receiver, silent: silent})
			}
		}
	}
}

// climbs has a way become narrow, by anything.
func climbs(t *testing.T, of simulation) {
	t.Helper()
	const fallsAt, settles, narrowFor, most, share = 20 * time.Second, 3 * time.Second, 2 * time.Minute, 8, 0.05
	var tooHigh, all time.Duration
	for narrow := 60_000.0; narrow < 1_240_000; narrow += 23_700 {
		s := of
		s.link.capacity, s.layer = 2_000_000, 3
		climbs := 0
		for passed := time.Duration(0); passed < fallsAt+narrowFor; passed += tick {
			if passed == fallsAt {
				s.link.capacity = narrow
			}
			was := s.layer
			s.step(start.Add(passed))
			if passed <= fallsAt+settles {
				continue
			}
			all += tick
			if s.layer > 0 && float64(layers[s.layer]) > narrow {
				tooHigh += tick
				if s.layer > was {
					climbs++
				}
			}
		}
		if climbs > most && (of.link.depth < 3 || climbs > 14) { // A deep queue takes long to tell.
			t.Errorf("%v bit/s, %v s, slow %v, silent %v: %d times", narrow, of.link.depth, of.receiver.slow, of.silent, climbs)
		}
	}
	if tooHigh.Seconds() > share*all.Seconds() {
		t.Errorf("%v s, slow %v, silent %v: too much for %v of %v", of.link.depth, of.receiver.slow, of.silent, tooHigh, all)
	}
}

// Where a queue is too short to delay anything much, probes lose something of what flows, and it flows on: nothing is
// smaller, or larger, for what passes beside it, but by chance.
func TestProbesOfShallowQueues(t *testing.T) {
	const fallsAt, settles, lasting = 20 * time.Second, 20 * time.Second, 2 * time.Minute
	for _, depth := range []float64{0.03, 0.1} {
		for fits := 1; fits < len(layers)-1; fits++ {
			for _, capacity := range []float64{1.1 * float64(layers[fits]), 0.8 * float64(layers[fits+1])} {
				for _, silent := range []bool{false, true} {
					s := simulation{link: link{capacity: 2_000_000, depth: depth}, layer: 3, silent: silent}
					var other time.Duration
					for passed := time.Duration(0); passed < fallsAt+settles+lasting; passed += tick {
						if passed == fallsAt {
							s.link.capacity = capacity
						}
						s.step(start.Add(passed))
						if passed > fallsAt+settles && s.layer != fits {
							other += tick
						}
					}
					if other > lasting/20 {
						t.Errorf("%v bit/s, a queue of %v s, silent %v: not layer %d for %v", capacity, depth, silent, fits, other)
					}
				}
			}
		}
	}
}

// A way that narrows again is noticed as soon as one that narrows, also in a probe and just after one.
func TestWaysThatNarrowTwice(t *testing.T) {
	const first, second, every, most = 20 * time.Second, 50 * time.Second, 8 * time.Second, 1500 * time.Millisecond
	for _, depth := range []float64{0.03, 0.1, 0.3} {
		for _, silent := range []bool{false, true} {
			for at := second; at < second+every; at += 100 * time.Millisecond {
				s := simulation{link: link{capacity: 2_000_000, depth: depth}, layer: 3, silent: silent}
				for passed := time.Duration(0); passed < at+most; passed += tick {
					switch passed {
					case first:
						s.link.capacity = 700_000
					case at:
						s.link.capacity = 230_000
					}
					s.step(start.Add(passed))
				}
				if s.layer > 1 {
					t.Errorf("a queue of %v s, silent %v: layer %d %v after %v", depth, silent, s.layer, most, at)
				}
			}
		}
	}
}

// A way that loses much for a moment, each few seconds, and has room, limits nothing.
func TestLossesOfAMoment(t *testing.T) {
	for _, way := range []struct {
		every, lasting time.Duration
		loss           float64
	}{
		{2 * time.Second, 100 * time.Millisecond, 0.5},
		{3 * time.Second, 200 * time.Millisecond, 0.3},
		{10 * time.Second, 300 * time.Millisecond, 0.5},
	} {
		s := simulation{link: link{capacity: 10_000_000}, layer: 3}
		for passed := time.Duration(0); passed < 2*time.Minute; passed += tick {
			if s.link.loss = 0; passed > way.every && passed%way.every < way.lasting {
				s.link.loss = way.loss
			}
			if s.step(start.Add(passed)); s.layer < 3 {
				t.Errorf("%v: layer %d after %v", way, s.layer, passed)

				break
			}
		}
	}
}
