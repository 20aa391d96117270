package transportcc

import (
	"slices"
	"testing"
	"time"
)

// FuzzArrivals has packets come in any order at any times, and feedback given in between. What is told of a packet is
// true, whatever numbers come; and where they stay near each other, everything is told.
func FuzzArrivals(f *testing.F) {
	f.Add([]byte{1, 0, 0, 1, 0, 4, 1, 0, 0, 0, 0, 0, 3, 0, 9, 0xfe, 0xff, 200, 1, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 0x80, 0, 1, 0, 0, 0xff, 0x7f, 255, 1, 0, 0, 1, 0, 255})
	f.Add([]byte{0xf0, 0xff, 7, 30, 0, 255, 30, 0, 255, 2, 4, 255, 0, 4, 255, 1, 0, 1, 0xff, 0xfb, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var a Arrivals
		var number uint16
		var now time.Duration
		recorded := make(map[uint16][]time.Duration) // all there ever were
		first := make(map[uint16]time.Duration)      // since the last feedback
		told := make(map[uint16]bool)
		near := true
		flush := func() {
			packets := feedback(&a)
			if len(packets) > window {
				t.Fatalf("%d packets of feedback", len(packets))
			}
			for _, c := range read(t, packets...) {
				if c.at < 0 {
					continue
				}
				if !slices.Contains(recorded[c.number], c.at) {
					t.Fatalf("%d is said to have come at %v, it came at %v", c.number, c.at, recorded[c.number])
				}
				if at, ok := first[c.number]; ok && near && at != c.at {
					t.Fatalf("%d is said to have come at %v, it came at %v for the first time", c.number, c.at, at)
				}
				told[c.number] = true
				delete(first, c.number)
			}
			if near && len(first) > 0 {
				t.Fatalf("nothing is told of %v", first)
			}
			clear(first)
		}
		for ; len(steps) >= 3; steps = steps[3:] {
			step := int16(uint16(steps[0]) | uint16(steps[1])<<8)
			// The numbers of 256 steps of at most 3 are within a window.
			near = near && step <= 3 && step >= -3
			number += uint16(step)
			now += time.Duration(steps[2]) * time.Duration(steps[2]) * Tick // up to 16 s
			at := (now/Tick + 1) * Tick
			recorded[number] = append(recorded[number], at)
			if _, again := first[number]; !again && !told[number] {
				first[number] = at
			}
			a.Record(number, now)
			if a.Waiting() == 256 || steps[2] == 255 {
				flush()
			}
		}
		flush()
	})
}
