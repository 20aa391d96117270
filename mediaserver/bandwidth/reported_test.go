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
