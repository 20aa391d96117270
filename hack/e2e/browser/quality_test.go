//go:build network

package browser

import (
	"context"
	"testing"
	"time"
)

// viewer is a tab that gets what one sender sends.
type viewer struct{ tab context.Context }

// quality is what a tab tells of one sender's streams.
type quality struct {
	Width         int     `json:"width,omitempty"`
	Decoded       int     `json:"decoded"`
	Dropped       int     `json:"dropped"`
	Freezes       int     `json:"freezes"`
	FrozenSeconds float64 `json:"frozenSeconds"`
	AudioReceived int     `json:"audioReceived"`
	AudioLost     int     `json:"audioLost"`
	VideoBuffer   buffer  `json:"videoBuffer"`
	AudioBuffer   buffer  `json:"audioBuffer"`
}

// buffer is a jitter buffer: what came out of it, frames or samples, and how long that was in it,
// in seconds, all together.
type buffer struct {
	Delay   float64 `json:"delay"`
	Emitted float64 `json:"emitted"`
	// MeanMS is how long each was in it, in ms.
	MeanMS float64 `json:"meanMs"`
}

func (b buffer) since(before buffer) buffer {
	b.Delay -= before.Delay
	b.Emitted -= before.Emitted
	b.MeanMS = 1000 * b.Delay / max(b.Emitted, 1)

	return b
}

func (v viewer) quality(t *testing.T) (q quality) {
	t.Helper()
	if err := evaluate(t, v.tab, "quality()", &q); err != nil {
		t.Fatal(err)
	}

	return q
}

// since is what has happened since an earlier look.
func (q quality) since(before quality) quality {
	q.Decoded -= before.Decoded
	q.Dropped -= before.Dropped
	q.Freezes -= before.Freezes
	q.FrozenSeconds -= before.FrozenSeconds
	q.AudioReceived -= before.AudioReceived
	q.AudioLost -= before.AudioLost
	q.VideoBuffer = q.VideoBuffer.since(before.VideoBuffer)
	q.AudioBuffer = q.AudioBuffer.since(before.AudioBuffer)

	return q
}

// seesWithin is how long it takes until a picture of the width comes, and ok whether it comes.
func (v viewer) seesWithin(t *testing.T, width int, most time.Duration) (took time.Duration, ok bool) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) { // It is sampled.
		switch took = time.Since(begin); {
		case v.quality(t).Width == width:
			return took, true
		case took > most:
			return took, false
		}
	}
}

// settled is how long a picture has to stay before something is measured: a receiver's estimate begins after 5 s.
const settled = 10 * time.Second

// settles waits until a picture of the width comes and stays.
func (v viewer) settles(t *testing.T, width int) {
	t.Helper()
	for begin := time.Now(); ; {
		if time.Since(begin) > 2*deadline {
			t.Fatalf("no picture of %d stays", width)
		}
		_, came := v.seesWithin(t, width, deadline)
		for since := time.Now(); came; time.Sleep(100 * time.Millisecond) { // It is sampled.
			if v.quality(t).Width != width {
				break
			}
			if time.Since(since) > settled {
				return
			}
		}
	}
}

// watch gives what comes in a while.
func (v viewer) watch(t *testing.T, while time.Duration) quality {
	t.Helper()
	before := v.quality(t)
	time.Sleep(while) // It is what is measured.

	return v.quality(t).since(before)
}
