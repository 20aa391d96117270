package bandwidth

import (
	"testing"
	"time"
)

// After an outage each stream asks for what it misses with its next frame, so that many which have few frames do so
// for a while. Nor is that a queue which overflows.
func TestOutageOfManyStreams(t *testing.T) {
	const each, size, frame = 300_000, 1_000, 200 * time.Millisecond // bit/s, bytes
	for _, streams := range []int{2, 6, 30, 200} {
		for _, lasted := range []time.Duration{time.Second, 3 * time.Second} {
			var r Reported
			for i := range streams {
				now := start.Add(frame * time.Duration(i) / time.Duration(streams-1))
				packets := int(each * lasted.Seconds() / 8 / size)
				r.ReceiveMissing(packets, packets, packets*size, now)
				if r.Look(each*streams, 0, now) {
					t.Errorf("%d streams, an outage of %v: it is taken for too much", streams, lasted)

					break
				}
			}
		}
	}
}

// What many streams miss for the first time is few of what they are sent, all together.
func TestManyStreamsMissLittle(t *testing.T) {
	const streams, each, size = 200, 300_000, 1_000
	var r Reported
	for i := range streams {
		now := start.Add(time.Second * time.Duration(i) / streams)
		r.ReceiveMissing(1, 1, size, now)
		if r.Look(each*streams, 0, now) {
			t.Fatalf("it is too much after %v", now.Sub(start))
		}
	}
}

// A probe that is too much lowers no estimate below what flows beside it.
func TestProbesTakeNothingAway(t *testing.T) {
	const sent, padding, size = 400_000, 400_000, 500
	var r Reported
	now := start.Add(-time.Minute)
	r.ReceiveLoss(60, 100, now)
	r.Look(1_250_000, 0, now)
	congested := false
	now = start
	for range 6 {
		now = now.Add(40 * time.Millisecond)
		r.ReceiveMissing(3, 4, 3*size, now)
		congested = r.Look(sent, padding, now) || congested
	}
	if estimate, _ := r.Estimate(); !congested || estimate < sent || r.Narrowed() {
		t.Errorf("too much: %v; %d bit/s", congested, estimate)
	}
	for range 4 { // It is told of a round trip after the padding has ended, too.
		now = now.Add(40 * time.Millisecond)
		r.ReceiveMissing(3, 4, 3*size, now)
		if r.Look(sent, 0, now) {
			t.Error("too much without padding")
		}
	}
}
