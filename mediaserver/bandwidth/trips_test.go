package bandwidth

import (
	"testing"
	"time"
)

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
