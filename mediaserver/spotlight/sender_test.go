package spotlight_test

import (
	"fmt"
	"testing"
	"time"
)

// A microphone that is off says nothing of the noise around it: once it is on, a noisy room is
// no speech, and what exceeds it is.
func TestMutedMicrophone(t *testing.T) {
	const noise = 127 - 47
	for name, before := range map[string][]time.Duration{ // in which it is off, and on, in turns
		"off from the beginning": {time.Second},
		"off for a while":        {0, 10 * time.Second, time.Second},
		"off for a moment":       {0, 10 * time.Second, frame},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(1, 2)
			for i, d := range before {
				r.play(d, noise*(i%2), quiet)
			}
			r.play(10*time.Second, noise, quiet)
			r.want(t, "")
			if r.senders[0].Heard(r.now) {
				t.Error("the noise is heard")
			}
			r.play(frame, loud, quiet)
			if !r.senders[0].Heard(r.now) {
				t.Error("the speech is not heard")
			}
			r.play(time.Second, loud, quiet)
			r.want(t, "a")
		})
	}
}

// Who speaks comes into focus however long its packets are (Opus has up to 120 ms) and
// however many of them a network keeps to deliver at a time.
func TestSpeechInFewArrivals(t *testing.T) {
	for _, every := range []int{1, 2, 3, 4, 5, 6} {
		t.Run(fmt.Sprint(time.Duration(every)*frame), func(t *testing.T) {
			r := newRoom(1, 2)
			at := 0
			say := func(d time.Duration, loudness ...int) {
				for end := r.now + d; r.now < end; at++ {
					heard := []int{-1, -1}
					if at%every == 0 {
						copy(heard, loudness)
					}
					r.play(frame, heard...)
				}
			}
			say(time.Second, quiet, quiet)
			say(time.Second, loud, quiet)
			r.want(t, "a")
			say(2*time.Second, quiet, loud)
			r.want(t, "b")
			say(frame*time.Duration(every), loud, quiet) // A noise of one arrival.
			say(time.Second, quiet, quiet)
			r.want(t, "b")
		})
	}
}
