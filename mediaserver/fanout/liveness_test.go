package fanout_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
)

// event is something that happens to one of a sender's receivers, or to the sender,
// and how many frames later the next thing does.
type event struct{ what, projection, frames int }

// Hazards 6, 7 and 25: whatever receivers and the sender do, no receiver that may go on
// is left without a keyframe, and the sender is never asked beyond its budget.
func TestEveryWishIsFulfilledWithinTheBudget(t *testing.T) {
	const receivers = 4
	rapid.Check(t, func(r *rapid.T) {
		var events []event
		for range rapid.IntRange(1, 60).Draw(r, "events") {
			events = append(events, event{
				rapid.IntRange(0, 6).Draw(r, "what"), rapid.IntRange(0, receivers-1).Draw(r, "projection"),
				rapid.SampledFrom([]int{0, 1, 5, 20, 100, 600}).Draw(r, "frames"),
			})
		}
		var wrong string
		synctest.Test(t, func(t *testing.T) { wrong = play(t, events, receivers) })
		if wrong != "" {
			r.Fatal(wrong)
		}
	})
}

// play has the events happen, and tells what went wrong.
func play(t *testing.T, events []event, receivers int) string {
	s := &encoder{requests: make(chan time.Time, 10_000), batch: batch()}
	var asked atomic.Int64
	begin := time.Now()
	s.track = newVideo(t, func() {
		asked.Add(1)
		s.requests <- time.Now()
	})
	defer s.track.Close()
	var projections []*fanout.Projection
	for range receivers {
		projections = append(projections, s.track.Project(discard{}, 0))
	}
	for _, happens := range events {
		pr := projections[happens.projection]
		switch happens.what {
		case 0:
			fanout.Apply([]fanout.Change{pause(pr)})
		case 1:
			fanout.Apply([]fanout.Change{resume(pr)})
		case 2:
			pr.ReceivePLI()
		case 3: // a packet is lost for good
			if last, ok := pr.LastSequenceNumber(); ok {
				for range 11 {
					pr.ReceiveNACK(s.batch, []uint16{last})
				}
			}
		case 4: // the sender is muted
			time.Sleep(time.Duration(happens.frames) * frameInterval)
		case 5: // a request is lost
			s.asked()
		case 6: // the sender begins anew
			s.number += 10_000
		}
		s.run(time.Duration(happens.frames)*frameInterval, nil)
	}
	for _, pr := range projections {
		fanout.Apply([]fanout.Change{resume(pr)})
	}
	s.run(12*time.Second, nil) // the longest that a receiver is put off, and the sender's budget
	for i, pr := range projections {
		if withheld, waits := pr.Withheld(); withheld != 0 || waits {
			return fmt.Sprintf("receiver %d still waits for a keyframe", i)
		}
	}
	if most := int64(time.Since(begin)/time.Second) + 5; asked.Load() > most {
		return fmt.Sprintf("the sender was asked %d times in %v", asked.Load(), time.Since(begin))
	}

	return ""
}
