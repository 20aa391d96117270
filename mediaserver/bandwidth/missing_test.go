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
