package spotlight_test

import (
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
