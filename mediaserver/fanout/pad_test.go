package fanout_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Padding goes out beside a stream that flows, as much as was asked for and not too much at once, and uses no number
// of the stream's up.
func TestPad(t *testing.T) {
	track, sink := newVideo(t, func() {}), &recorder{}
	pr := track.Project(sink, forwarding.Unnegotiated)
	nothing := func(why string) {
		t.Helper()
		if padded := pr.Pad(batch(), 1000); padded != 0 || sink.padding != 0 {
			t.Errorf("%d bytes of padding to one who %s", padded, why)
		}
	}
	nothing("is not there yet")
	fanout.Apply([]fanout.Change{{Projection: pr, Release: forwarding.Unnegotiated}})
	nothing("waits for a keyframe")
	track.ReceiveRTP(batch(), []media.Received{packet(1, "K", true)})
	if padded := pr.Pad(batch(), 1000); padded != 1020 || sink.padding != 1020 {
		t.Errorf("%d and %d bytes of padding, want those that are nearest to 1000", padded, sink.padding)
	}
	if padded := pr.Pad(batch(), 1<<30); padded > 10_000 {
		t.Errorf("%d bytes of padding at once", padded)
	}
	if padded := track.Counters().Padding.Load(); padded != uint64(sink.padding) {
		t.Errorf("%d bytes of padding are counted, and there were %d", padded, sink.padding)
	}
	track.ReceiveRTP(batch(), []media.Received{packet(2, "x", true)})
	numbers := wantBytes(t, sink, "Kx")
	wantContiguous(t, numbers)

	sink.padding = 0
	fanout.Apply([]fanout.Change{pause(pr)})
	nothing("is paused")
	fanout.Apply([]fanout.Change{resume(pr)})
	nothing("has not resumed yet")
	track.ReceiveRTP(batch(), []media.Received{packet(3, "K", true)})
	sink.err = errors.New("no retransmission stream")
	nothing("cannot be sent any")
	sink.err = nil
	pr.Remove()
	nothing("has left")
}

// All that leaves says when: what is forwarded together the same, what is sent again and padding later.
func TestSendTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track, sink := newVideo(t, func() {}), &recorder{}
		pr := track.Project(sink, 0)
		var want []uint32
		leaves := func(packets int) {
			for range packets {
				want = append(want, media.SendTime(time.Now()))
			}
			time.Sleep(30 * time.Millisecond)
		}
		track.ReceiveRTP(batch(), []media.Received{packet(1, "K", false), packet(2, "x", true)})
		leaves(2)
		track.ReceiveRTP(batch(), []media.Received{packet(3, "y", true)})
		leaves(1)
		numbers, _ := sink.got()
		pr.ReceiveNACK(batch(), numbers[:1])
		leaves(1)
		pr.Pad(batch(), 255)
		leaves(1)
		if !slices.Equal(sink.left, want) || want[0] == want[2] {
			t.Errorf("they left at %v, want %v", sink.left, want)
		}
		track.Close()
	})
}
