package bandwidth

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var start = time.Unix(1_000_000, 0)

// said is one thing that a receiver says, or a look.
type said struct {
	after          time.Duration
	remb           float64
	lost, expected int
	sent           int
	opens, moves   bool
	queue          time.Duration // that round trips which are measured then tell of; 0: none is answered
	congested      bool
	narrowed       bool
	estimate       int
	limited        bool
}

func TestReported(t *testing.T) {
	for name, steps := range map[string][]said{
		"silence limits nothing": {{sent: 1_000_000}},
		"a first estimate that is what arrived is no limit": {
			{remb: 1_000_000, sent: 1_050_000},
		},
		"nor is one that grows with what is sent": {
			{remb: 150_000, sent: 150_000},
			{after: time.Second, remb: 162_000, sent: 1_250_000},
			{after: time.Second, remb: 175_000, sent: 1_250_000},
		},
		"a first estimate far below what is sent is one": {
			{remb: 425_000, sent: 1_250_000, queue: shallow, congested: true, narrowed: true, estimate: 425_000, limited: true},
		},
		"so is one that falls below what is sent": {
			{remb: 3_000_000, sent: 1_250_000},
			{
				after: time.Second, remb: 425_000, sent: 1_250_000, queue: shallow,
				congested: true, narrowed: true, estimate: 425_000, limited: true,
			},
		},
		"and where nobody answers how long round trips are": {
			{remb: 3_000_000, sent: 1_250_000},
			{after: time.Second, remb: 425_000, sent: 1_250_000},
			{after: doubtFor, sent: 1_250_000, congested: true, narrowed: true, estimate: 425_000, limited: true},
		},
		"one that falls of a burst is none": {
			{remb: 3_000_000, sent: 1_250_000},
			{after: time.Second, remb: 425_000, sent: 1_250_000, queue: 10 * time.Millisecond},
			{after: time.Minute, sent: 1_250_000},
		},
		"one that falls a little is no sign of a way that is far narrower": {
			{remb: 3_000_000, sent: 1_250_000},
			{
				after: time.Second, remb: 1_050_000, sent: 1_250_000, queue: shallow,
				congested: true, estimate: 1_050_000, limited: true,
			},
		},
		"unless a deep queue has come at once": {
			{remb: 3_000_000, sent: 1_250_000},
			{
				after: time.Second, remb: 1_050_000, sent: 1_250_000, queue: deep,
				congested: true, narrowed: true, estimate: 1_050_000, limited: true,
			},
		},
		"not one that falls and is enough": {
			{remb: 9_000_000, sent: 1_250_000},
			{after: time.Second, remb: 4_000_000, sent: 1_250_000},
		},
		"what it says of a pause is no sign when more is sent after it": {
			{remb: 2_000_000, sent: 1_000_000},
			{after: 10 * time.Second, remb: 500_000, sent: 50_000},
			{after: time.Second, remb: 150_000, sent: 1_050_000},
			{after: time.Second, remb: 600_000, sent: 1_050_000},
			{after: time.Second, remb: 550_000, sent: 1_050_000},
		},
		"nor what it says of a stream's beginning, unless much is lost": {
			{remb: 2_000_000, sent: 1_000_000},
			{after: 10 * time.Second, opens: true, sent: 1_000_000},
			{after: time.Second, remb: 130_000, sent: 1_000_000},
			{
				after: time.Second / 2, lost: 60, expected: 100, sent: 1_000_000,
				congested: true, narrowed: true, estimate: 400_000, limited: true,
			},
		},
		"nor its first one just after the beginning": {
			{opens: true},
			{after: time.Second, remb: 127_000, sent: 182_000},
			{after: time.Second, remb: 140_000, sent: 182_000},
		},
		"two falls in a row are": {
			{remb: 3_000_000, sent: 1_250_000},
			{
				after: time.Second, remb: 1_000_000, sent: 1_250_000, queue: shallow,
				congested: true, estimate: 1_000_000, limited: true,
			},
			{
				after: time.Second, remb: 425_000, sent: 1_250_000,
				congested: true, narrowed: true, estimate: 425_000, limited: true,
			},
		},
		"a limit is not lowered by less being sent": {
			{remb: 425_000, sent: 1_250_000, queue: shallow, congested: true, narrowed: true, estimate: 425_000, limited: true},
			{after: time.Second, remb: 425_000, sent: 150_000, estimate: 425_000, limited: true},
			{after: time.Second, remb: 420_000, sent: 0, estimate: 425_000, limited: true},
		},
		"it rises with what the receiver says": {
			{remb: 425_000, sent: 1_250_000, queue: shallow, congested: true, narrowed: true, estimate: 425_000, limited: true},
			{after: time.Second, remb: 500_000, sent: 300_000, estimate: 500_000, limited: true},
		},
		"many losses are a limit: what came through": {
			{lost: 60, expected: 100, sent: 1_250_000, congested: true, narrowed: true, estimate: 500_000, limited: true},
		},
		"those of the same queue are not a second one": {
			{remb: 425_000, sent: 1_250_000, queue: shallow, congested: true, narrowed: true, estimate: 425_000, limited: true},
			{after: time.Second, lost: 60, expected: 100, sent: 150_000, estimate: 425_000, limited: true},
		},
		"of another way nothing is known, and what is lost in the move is no sign": {
			{remb: 425_000, sent: 1_250_000, queue: shallow, congested: true, narrowed: true, estimate: 425_000, limited: true},
			{after: 5 * time.Second, moves: true, sent: 1_250_000},
			{after: time.Second, lost: 60, expected: 100, remb: 200_000, sent: 1_250_000},
			{after: 2 * time.Second, remb: 800_000, sent: 1_250_000},
			{
				after: time.Second, lost: 50, expected: 100, sent: 1_250_000,
				congested: true, narrowed: true, estimate: 625_000, limited: true,
			},
		},
		"few losses are none, however few packets": {
			{lost: 1, expected: 2, sent: 1_250_000},
			{lost: 5, expected: 100, sent: 1_250_000},
		},
		"nonsense is none": {
			{remb: math.NaN(), sent: 1},
			{remb: -5, sent: 1},
			{lost: 5, expected: -1, sent: 1_000_000},
		},
		"nothing is beyond all bounds": {
			{remb: 400_000, sent: 1_250_000, queue: shallow, congested: true, narrowed: true, estimate: 400_000, limited: true},
			{after: time.Second, remb: math.Inf(1), sent: 1_000, estimate: maxEstimate, limited: true},
			{
				after: time.Second, remb: 1, sent: 1_000, queue: shallow,
				congested: true, narrowed: true, estimate: minEstimate, limited: true,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r Reported
			now := start
			r.ReceiveMeasured(usual, now)
			for i, step := range steps {
				now = now.Add(step.after)
				if step.opens {
					r.Opens(now)
				}
				if step.moves {
					r.Moves(now)
				}
				if step.remb != 0 {
					r.ReceiveREMB(step.remb)
				}
				if step.expected != 0 {
					r.ReceiveLoss(step.lost, step.expected, now)
				}
				congested := r.Look(step.sent, 0, now)
				for n := 0; n < agree && r.doubt.is() && step.queue > 0; n++ {
					now = now.Add(usual + step.queue)
					if n == 0 && step.queue < deep {
						now = now.Add(burstFor)
					}
					r.ReceiveMeasured(usual+step.queue, now)
					congested = r.Look(step.sent, 0, now)
				}
				if congested != step.congested {
					t.Errorf("step %d: congested %v", i, congested)
				}
				if got := r.Narrowed(); got != step.narrowed {
					t.Errorf("step %d: narrowed %v", i, got)
				}
				if estimate, limited := r.Estimate(); limited != step.limited || limited && estimate != step.estimate {
					t.Errorf("step %d: %d, %v; want %d, %v", i, estimate, limited, step.estimate, step.limited)
				}
			}
		})
	}
}

// Losses of a twentieth, by chance, limit nothing, whatever the rate; of a third they do.
func TestLossesByChance(t *testing.T) {
	for _, packets := range []int{15, 70, 150, 2_000} { // a second
		for share, limits := range map[float64]bool{0.05: false, 0.35: true} {
			random := rand.New(rand.NewPCG(1, uint64(packets)))
			var r Reported
			now := start
			for range 600 {
				now = now.Add(time.Second)
				lost := 0
				for range packets {
					if random.Float64() < share {
						lost++
					}
				}
				r.ReceiveLoss(lost, packets, now)
				r.Look(1_000_000, 0, now)
			}
			if _, limited := r.Estimate(); limited != limits {
				t.Errorf("%d packets/s, %v lost: limited %v", packets, share, limited)
			}
		}
	}
}

// An estimate is never beyond its bounds, grows only by what the receiver says or a probe
// has shown, and is at most what is sent once that is too much.
func TestReportedProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 3))
	for range 200 {
		var r Reported
		now, most := start, 0.0
		for range 300 {
			saying := false
			now = now.Add(time.Duration(random.IntN(500)) * time.Millisecond)
			sent := random.IntN(5_000_000)
			switch random.IntN(4) {
			case 0:
				remb := random.Float64() * 1e7
				most, saying = max(most, remb), true
				r.ReceiveREMB(remb)
			case 1:
				n := random.IntN(300)
				r.ReceiveLoss(random.IntN(n+1), n, now)
			case 2:
				if _, limited := r.Estimate(); limited {
					most = max(most, float64(sent))
					r.Prove(sent)
				}
			}
			before, limitedBefore := r.Estimate()
			congested := r.Look(sent, 0, now)
			estimate, limited := r.Estimate()
			switch {
			case limitedBefore && !limited:
				t.Fatal("a limit has gone")
			case limited && (estimate < minEstimate || estimate > maxEstimate):
				t.Fatalf("%d bit/s", estimate)
			case congested && (!limited || estimate > max(sent, minEstimate)):
				t.Fatalf("%d bit/s though %d was too much", estimate, sent)
			case limitedBefore && !congested && !saying && estimate < before:
				t.Fatalf("%d bit/s after %d without any reason", estimate, before)
			case limitedBefore && float64(estimate) > max(most, float64(before)):
				t.Fatalf("%d bit/s, nobody said more than %v", estimate, most)
			}
		}
	}
}

func TestMeter(t *testing.T) {
	var m Meter
	if rate := m.Rate(start); rate != 0 {
		t.Errorf("nothing came: %d bit/s", rate)
	}
	now := start
	for range 100 { // 3 s of 1 Mbit/s
		m.Add(3_750, now)
		now = now.Add(30 * time.Millisecond)
	}
	if rate := m.Rate(now); rate < 950_000 || rate > 1_080_000 {
		t.Errorf("1 Mbit/s is measured as %d bit/s", rate)
	}
	m.Add(100_000, now) // a keyframe
	if rate := m.Rate(now); rate > 1_080_000 {
		t.Errorf("%d bit/s with the first packet of a second", rate)
	}
	if rate := m.Rate(now.Add(10 * time.Second)); rate != 0 {
		t.Errorf("of what is silent: %d bit/s", rate)
	}
	m.Add(1_250, now.Add(20*time.Second))
	if rate := m.Rate(now.Add(20*time.Second + 200*time.Millisecond)); rate != 50_000 {
		t.Errorf("after a silence: %d bit/s, want what has come since", rate)
	}
	if n := testing.AllocsPerRun(1000, func() { now = now.Add(time.Millisecond); m.Add(1000, now) }); n != 0 {
		t.Errorf("%v allocations a burst", n)
	}
}

// A receiver that misses something of each burst, for a while, has a queue that overflows. What comes through
// goes on, and a little less.
func TestMissing(t *testing.T) {
	const sent, size = 1_250_000, 1_000
	misses := func(r *Reported, from time.Time, times, packets, span int) (congested bool, after time.Time) {
		for range times {
			from = from.Add(40 * time.Millisecond)
			r.ReceiveMissing(packets, span, packets*size, from)
			congested = r.Look(sent, 0, from) || congested
		}

		return congested, from
	}
	var r Reported
	if congested, _ := misses(&r, start, 13, 3, 6); !congested || !r.Narrowed() {
		t.Error("what is missing of each frame is no sign")
	}
	if estimate, _ := r.Estimate(); estimate < 550_000 || estimate > 650_000 {
		t.Errorf("%d bit/s, though half of %d comes through", estimate, sent)
	}
	for name, test := range map[string]struct{ times, packets, span int }{
		"an outage, after which all is asked for at once": {1, 200, 1},
		"and some of what follows it":                     {2, 200, 200},
		"a burst that was too much for a queue":           {3, 10, 20},
		"losses of a moment":                              {10, 3, 6},
		"losses of a tenth":                               {100, 1, 10},
	} {
		var r Reported
		if congested, _ := misses(&r, start, test.times, test.packets, test.span); congested {
			t.Error(name)
		}
	}
	var old Reported
	for since := time.Duration(0); since <= lossy; since += lossy / 5 {
		old.ReceiveMissing(3, 6, 3*size, start.Add(since))
	}
	if old.Look(sent, 0, start.Add(time.Hour)) {
		t.Error("what was missing long ago is a sign")
	}
	var moves Reported
	moves.Moves(start)
	if congested, _ := misses(&moves, start, 13, 3, 6); congested {
		t.Error("what is missing after a move is a sign")
	}
	// After the receiver's estimate it tells how much narrower the way is: it was sent before that.
	var fallen Reported
	fallen.ReceiveMeasured(usual, start)
	fallen.ReceiveREMB(2_000_000)
	fallen.Look(sent, 0, start)
	fallen.ReceiveREMB(1_100_000)
	fallen.Look(sent, 0, start)
	fallen.ReceiveMeasured(usual+deep, start.Add(time.Second/2))
	fallen.Look(sent, 0, start.Add(time.Second/2))
	_, after := misses(&fallen, start.Add(time.Second/2), 5, 3, 6)
	if estimate, _ := fallen.Estimate(); estimate > 650_000 {
		t.Errorf("%d bit/s: what was missing later is not taken in", estimate)
	}
	// What is sent less since then is not what it was missing of, however often it is told.
	for range 2 {
		for range 5 {
			after = after.Add(40 * time.Millisecond)
			fallen.ReceiveMissing(3, 6, 3*size, after)
			fallen.Look(190_000, 0, after)
		}
	}
	if estimate, _ := fallen.Estimate(); estimate < 550_000 {
		t.Errorf("%d bit/s: what was missing before is taken for what is sent since", estimate)
	}
	if congested, _ := misses(&fallen, after, 1, 3, 6); congested {
		t.Error("the same queue is too much a second time")
	}
}

// roundTrips has the receiver report round trips each second, and those that are measured meanwhile take as long.
func roundTrips(r *Reported, now time.Time, each ...time.Duration) (congested int, after time.Time) {
	for _, took := range each {
		r.ReceiveRoundTrip(took, now)
		for range 10 {
			if measure, _ := r.Measure(now); measure {
				r.ReceiveMeasured(took, now)
			}
			if r.Look(490_000, 0, now) {
				congested++
			}
			now = now.Add(time.Second / 10)
		}
	}

	return congested, now
}

func TestStandingQueue(t *testing.T) {
	const ms = time.Millisecond
	var r Reported
	r.ReceiveRoundTrip(100*ms, start)
	if r.ReceiveRoundTrip(300*ms, start); !r.doubt.is() {
		t.Fatal("a long round trip is no sign")
	}
	if r.ReceiveMeasured(90*ms, start.Add(burstFor+90*ms)); r.doubt.is() {
		t.Error("it is one though those that are measured are short")
	}
	n, now := roundTrips(&r, start.Add(drains), 400*ms, 390*ms, 395*ms)
	if n != 1 {
		t.Errorf("a queue that stands full was noticed %d times", n)
	}
	if estimate, limited := r.Estimate(); !limited || estimate != 416_500 {
		t.Errorf("%d, %v: not enough for the queue to empty", estimate, limited)
	}
	longer := make([]time.Duration, 20)
	for i := range longer {
		longer[i] = 400 * ms
	}
	if n, now = roundTrips(&r, now, longer...); n != maxCuts-1 {
		t.Errorf("a way that has become longer is taken for a queue %d times more", n)
	}
	if n, _ = roundTrips(&r, now, 700*ms, 700*ms); n != 1 {
		t.Error("on the longer way no queue is noticed any more")
	}
}

// A way that has become a little longer, without any queue, is known to be a minute later.
func TestShortestIsForgotten(t *testing.T) {
	var r Reported
	now := start
	r.ReceiveRoundTrip(usual, now)
	for range 2 * shortestFor / time.Second {
		now = now.Add(time.Second)
		r.ReceiveRoundTrip(usual+100*time.Millisecond, now)
	}
	if got := r.Usual(); got < usual+100*time.Millisecond {
		t.Errorf("%v", got)
	}
}

// How much round trips vary is no queue; what a probe, or a queue that empties, does to them is not how they vary.
func TestVarying(t *testing.T) {
	const ms = time.Millisecond
	var r Reported
	now := start
	for i := range 100 {
		r.ReceiveRoundTrip(100*ms+time.Duration(i%2)*100*ms, now)
		now = now.Add(time.Second)
	}
	varying := r.Usual()
	if varying < 250*ms || varying > 350*ms {
		t.Errorf("by a tenth of a second they are %v at most", varying)
	}
	r.Look(100_000, 100_000, now)
	r.ReceiveRoundTrip(3*time.Second, now.Add(time.Second))
	if got := r.Usual(); got != varying {
		t.Errorf("%v after a probe's, %v before", got, varying)
	}
	if r.ReceiveRoundTrip(varying+standing-1, now.Add(time.Minute)); r.doubt.is() {
		t.Error("a round trip is a sign that differs as usual")
	}
}

// In a probe a fall of the receiver's estimate is the prober's, and nothing that flowed before has become too
// much by it; nor has it by the probe's queue, of which round trips tell later.
func TestFallsInAProbe(t *testing.T) {
	var r Reported
	r.ReceiveRoundTrip(usual, start)
	r.ReceiveREMB(600_000)
	r.Look(200_000, 300_000, start)
	if r.ReceiveREMB(150_000); !r.Fell() || r.Look(200_000, 300_000, start) || r.doubt.is() {
		t.Error("a fall in a probe is taken for one without")
	}
	r.ReceiveREMB(140_000)
	if r.ReceiveRoundTrip(usual+deep, start.Add(time.Second)); r.Look(200_000, 0, start.Add(time.Second)) || r.doubt.is() {
		t.Error("the probe's queue is taken for one that stands")
	}
	if n, _ := roundTrips(&r, start.Add(settled), usual+deep, usual+deep); n != 1 {
		t.Error("a queue that stands is not noticed any more")
	}
}
