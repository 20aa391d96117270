package fanout_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// Who begins to speak is heard with the packet that says so, whoever came meanwhile, and
// numbers go on without a gap.
func TestTrackIsWithheldFromEverybody(t *testing.T) {
	track, b := newAudio(t), batch()
	first, second := &recorder{}, &recorder{}
	track.Project(first, 0)
	n := uint64(0)
	send := func(payload string) {
		n++
		track.ReceiveRTP(b, []media.Received{packet(n, payload, false)})
	}
	send("a")
	track.Withhold(forwarding.Unfocused)
	track.Withhold(forwarding.Unfocused)
	track.Project(second, 0)
	send("b")
	track.Release(forwarding.Unfocused)
	send("c")
	track.Release(forwarding.Unfocused)
	send("d")
	wantContiguous(t, wantBytes(t, first, "acd"))
	wantContiguous(t, wantBytes(t, second, "cd"))
	third := &recorder{}
	track.Project(third, 0)
	send("e")
	wantBytes(t, third, "e")
}

// Reasons are a set: no focus lifts a pause, and no resume a lack of focus.
func TestFocusAndPauseAreApart(t *testing.T) {
	focus := func(pr *fanout.Projection) fanout.Change {
		return fanout.Change{Projection: pr, Release: forwarding.Unfocused}
	}
	unfocus := func(pr *fanout.Projection) fanout.Change {
		return fanout.Change{Projection: pr, Withhold: forwarding.Unfocused}
	}
	type changes []func(*fanout.Projection) fanout.Change
	for name, test := range map[string]struct {
		changes changes
		opened  bool
	}{
		"focused while paused":               {changes{pause, unfocus, focus}, false},
		"paused while out of focus, resumed": {changes{unfocus, pause, resume}, false},
		"resumed, then focused":              {changes{unfocus, pause, resume, focus}, true},
		"focused, then resumed":              {changes{pause, unfocus, focus, resume}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, everybody := range []bool{false, true} {
				track, b, r := newAudio(t), batch(), &recorder{}
				pr := track.Project(r, 0)
				for _, change := range test.changes {
					switch c := change(pr); {
					case everybody && c.Withhold == forwarding.Unfocused:
						track.Withhold(c.Withhold)
					case everybody && c.Release == forwarding.Unfocused:
						track.Release(c.Release)
					default:
						fanout.Apply([]fanout.Change{c})
					}
				}
				track.ReceiveRTP(b, []media.Received{packet(1, "a", false)})
				if _, bytes := r.got(); (len(bytes) > 0) != test.opened {
					t.Errorf("%d packets were forwarded (everybody at once: %v)", len(bytes), everybody)
				}
			}
		})
	}
}

// A packet in hand delays pauses; it delays no change of focus.
func TestFocusWaitsForNoPacketInHand(t *testing.T) {
	for name, change := range map[string]func(*inHand){
		"a projection": func(h *inHand) {
			fanout.Apply([]fanout.Change{{Projection: h.projection, Withhold: forwarding.Unfocused}})
		},
		"everybody": func(h *inHand) { h.track.Withhold(forwarding.Unfocused) },
	} {
		t.Run(name, func(t *testing.T) {
			h := startInHand(t, burst)
			var changing sync.WaitGroup
			var returned atomic.Bool
			changing.Go(func() {
				change(h)
				returned.Store(true)
			})
			for !returned.Load() && !waitsForFlush() {
				runtime.Gosched()
			}
			if !returned.Load() {
				t.Error("it waits for the worker's batch")
			}
			h.release()
			changing.Wait()
			h.do(func(batch *udp.Batch) { h.track.ReceiveRTP(batch, []media.Received{packet(3, "K", true)}) })
			if sent := h.socket.Stats().DatagramsSent; sent != 2 {
				t.Errorf("%d packets sent, want the keyframe and the one in hand", sent)
			}
		})
	}
}
