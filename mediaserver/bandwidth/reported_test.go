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
			{remb: 425_000, sent: 1_250_000, congested: true, narrowed: true, estimate: 425_000, limited: true},
		},
		"so is one that falls below what is sent": {
			{remb: 3_000_000, sent: 1_250_000},
			{
				after: time.Second, remb: 425_000, sent: 1_250_000,
				congested: true, narrowed: true, estimate: 425_000, limited: true,
			},
		},
		"one that falls a little is no sign of a way that is far narrower": {
			{remb: 3_000_000, sent: 1_250_000},
			{after: time.Second, remb: 1_050_000, sent: 1_250_000, congested: true, estimate: 1_050_000, limited: true},
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
			{after: time.Second, remb: 1_000_000, sent: 1_250_000, congested: true, estimate: 1_000_000, limited: true},
			{
				after: time.Second, remb: 425_000, sent: 1_250_000,
				congested: true, narrowed: true, estimate: 425_000, limited: true,
			},
		},
		"a limit is not lowered by less being sent": {
			{remb: 425_000, sent: 1_250_000, congested: true, narrowed: true, estimate: 425_000, limited: true},
			{after: time.Second, remb: 425_000, sent: 150_000, estimate: 425_000, limited: true},
			{after: time.Second, remb: 420_000, sent: 0, estimate: 425_000, limited: true},
		},
		"it rises with what the receiver says": {
			{remb: 425_000, sent: 1_250_000, congested: true, narrowed: true, estimate: 425_000, limited: true},
			{after: time.Second, remb: 500_000, sent: 300_000, estimate: 500_000, limited: true},
		},
		"many losses are a limit: what came through": {
			{lost: 60, expected: 100, sent: 1_250_000, congested: true, narrowed: true, estimate: 500_000, limited: true},
		},
		"those of the same queue are not a second one": {
			{remb: 425_000, sent: 1_250_000, congested: true, narrowed: true, estimate: 425_000, limited: true},
			{after: time.Second, lost: 60, expected: 100, sent: 150_000, estimate: 425_000, limited: true},
		},
		"of another way nothing is known, and what is lost in the move is no sign": {
			{remb: 425_000, sent: 1_250_000, congested: true, narrowed: true, estimate: 425_000, limited: true},
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
			{remb: 400_000, sent: 1_250_000, congested: true, narrowed: true, estimate: 400_000, limited: true},
			{after: time.Second, remb: math.Inf(1), sent: 1_000, estimate: maxEstimate, limited: true},
			{after: time.Second, remb: 1, sent: 1_000, congested: true, narrowed: true, estimate: minEstimate, limited: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r Reported
			now := start
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
				if got := r.Look(step.sent, 0, now); got != step.congested {
					t.Errorf("step %d: congested %v", i, got)
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

// roundTrips has the receiver report round trips each second.
func roundTrips(r *Reported, now time.Time, each ...time.Duration) (congested int, after time.Time) {
	for _, took := range each {
		now = now.Add(time.Second)
		r.ReceiveRoundTrip(took, now)
		if r.Look(490_000, 0, now) {
			congested++
		}
	}

	return congested, now
}

// In a probe any fall tells that it is too much, and nothing that flowed before has become
// too much by it; nor has it by the probe's queue, of which round trips tell later.
func TestProbeThatIsTooMuch(t *testing.T) {
	var r Reported
	r.ReceiveREMB(300_000)
	r.Look(600_000, 0, start)
	r.ReceiveREMB(250_000)
	r.Look(200_000, 0, start)
	r.ReceiveREMB(249_000)
	if r.Look(200_000, 0, start) {
		t.Error("a small fall is too much without any probe")
	}
	before, _ := r.Estimate()
	r.Look(200_000, 300_000, start)
	if due := r.ReceiveREMB(247_000); !due || !r.Look(200_000, 300_000, start) {
		t.Error("a small fall in a probe is not noticed")
	}
	if estimate, _ := r.Estimate(); estimate < 200_000 || estimate > before {
		t.Errorf("%d bit/s after a probe that was too much, %d before it", estimate, before)
	}
	r.ReceiveRoundTrip(100*time.Millisecond, start)
	n, now := roundTrips(&r, start, 350*time.Millisecond)
	if n != 0 {
		t.Error("the probe's queue is taken for one that stands")
	}
	if n, _ = roundTrips(&r, now.Add(settled), 350*time.Millisecond, 350*time.Millisecond); n != 1 {
		t.Error("a queue that stands still is not noticed any more")
	}
}

// A round trip that is longer in a probe than before tells so too, whatever the shortest was.
func TestLongRoundTripsInAProbe(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		before, during time.Duration
		want           bool
	}{{100 * ms, 190 * ms, false}, {100 * ms, 210 * ms, true}, {300 * ms, 390 * ms, false}, {300 * ms, 410 * ms, true}} {
		var r Reported
		r.ReceiveRoundTrip(80*ms, start)
		for range 50 { // It has long been so.
			r.ReceiveRoundTrip(test.before, start)
		}
		r.ReceiveREMB(300_000)
		r.Look(600_000, 0, start)
		r.ReceiveREMB(310_000)
		r.Look(200_000, 300_000, start)
		due := r.ReceiveRoundTrip(test.during, start.Add(time.Second))
		if congested := r.Look(200_000, 300_000, start.Add(time.Second)); due != test.want || congested != test.want {
			t.Errorf("%v instead of %v: due %v, congested %v", test.during, test.before, due, congested)
		}
	}
}

// The receiver's estimate is not credible where a queue stood full that it did not notice: until it falls, for half
// a minute at most, or until round trips turn out to be long for another reason.
func TestCredible(t *testing.T) {
	const ms = time.Millisecond
	var r Reported
	r.ReceiveREMB(900_000)
	_, now := roundTrips(&r, start, 100*ms, 110*ms)
	if said, credible := r.Said(now); said != 900_000 || !credible {
		t.Errorf("%d, %v before the queue", said, credible)
	}
	_, now = roundTrips(&r, now, 400*ms, 400*ms, 400*ms)
	r.ReceiveREMB(950_000)
	r.Look(400_000, 0, now)
	if _, credible := r.Said(now); credible {
		t.Error("credible though it noticed no queue")
	}
	if _, credible := r.Said(now.Add(distrust)); !credible {
		t.Error("never credible again")
	}
	longer := r
	_, after := roundTrips(&longer, now, 400*ms, 400*ms, 400*ms, 400*ms)
	if _, credible := longer.Said(after); !credible {
		t.Error("not credible though round trips stay as long with less")
	}
	r.ReceiveREMB(380_000)
	r.Look(400_000, 0, now)
	if _, credible := r.Said(now); !credible {
		t.Error("not credible though it has fallen")
	}
}

func TestStandingQueue(t *testing.T) {
	const ms = time.Millisecond
	var r Reported
	n, now := roundTrips(&r, start, 100*ms, 110*ms, 300*ms, 90*ms, 320*ms, 100*ms)
	if n != 0 {
		t.Error("single long round trips are no queue that stands")
	}
	if n, now = roundTrips(&r, now, 400*ms, 390*ms, 395*ms, 390*ms); n != 1 {
		t.Errorf("a queue that stands full was noticed %d times", n)
	}
	if estimate, limited := r.Estimate(); !limited || estimate != 416_500 {
		t.Errorf("%d, %v: not enough for the queue to empty", estimate, limited)
	}
	if n, now = roundTrips(&r, now, 400*ms, 390*ms, 395*ms, 390*ms, 400*ms, 400*ms, 400*ms, 400*ms); n != 0 {
		t.Errorf("a way that has become longer is taken for a queue %d times", n)
	}
	if n, _ = roundTrips(&r, now, 700*ms, 700*ms); n != 1 {
		t.Error("on the longer way no queue is noticed any more")
	}
}
