package fanout_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
)

// inTime runs test on a clock of its own, with a track whose requests for keyframes
// are noted in milliseconds since the start.
func inTime(t *testing.T, test func(t *testing.T, track *fanout.Track, wantRequests func(...int64))) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		requests := make(chan int64, 1000)
		track := fanout.NewTrack(fanout.Config{
			Kind: forwardingv1.Kind_KIND_VIDEO, KeyframeStart: startsKeyframe,
			RequestKeyframe: func() { requests <- time.Since(begin).Milliseconds() },
		})
		defer track.Close()
		test(t, track, func(want ...int64) {
			t.Helper()
			synctest.Wait()
			var got []int64
			for len(requests) > 0 {
				got = append(got, <-requests)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("requests at %v ms, want %v", got, want)
			}
		})
	})
}

// Hazards 5 and 6: the request goes out at once and is repeated until it is
// answered, or nobody waits any more.
func TestKeyframeRequestIsRepeated(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		e := track.AddEdge(&recorder{}, forwarding.Unnegotiated)
		wantRequests()
		fanout.Apply([]fanout.Change{{Edge: e, Release: forwarding.Unnegotiated}})
		wantRequests(0)
		time.Sleep(1200 * time.Millisecond)
		wantRequests(500, 1000)
		track.ReceiveRTP([]*rtp.Packet{packet(1, "K", true)})
		time.Sleep(5 * time.Second)
		wantRequests()
		fanout.Apply([]fanout.Change{pause(e)})
		fanout.Apply([]fanout.Change{resume(e)})
		wantRequests(6200)
		fanout.Apply([]fanout.Change{pause(e)})
		time.Sleep(5 * time.Second)
		wantRequests()
	})
}

// Hazard 7: any number of resumes is one request.
func TestManyReleasesAreOneRequest(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		var pauses, resumes []fanout.Change
		for range 100 {
			e := track.AddEdge(&recorder{}, 0)
			pauses, resumes = append(pauses, pause(e)), append(resumes, resume(e))
		}
		wantRequests(0)
		track.ReceiveRTP([]*rtp.Packet{packet(1, "K", true)})
		fanout.Apply(pauses)
		time.Sleep(time.Second)
		fanout.Apply(resumes)
		wantRequests(1000)
		fanout.Apply(resumes)
		for _, c := range resumes {
			c.Edge.ReceivePLI()
		}
		wantRequests()
		track.ReceiveRTP([]*rtp.Packet{packet(2, "K", true)})
		time.Sleep(time.Second)
		wantRequests()
	})
}

// A wish too soon after the last request is put off, not forgotten.
func TestKeyframeRequestsKeepTheirDistance(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		e := track.AddEdge(&recorder{}, 0)
		wantRequests(0)
		time.Sleep(50 * time.Millisecond)
		track.ReceiveRTP([]*rtp.Packet{packet(1, "K", true)})
		e.ReceivePLI()
		wantRequests()
		time.Sleep(750 * time.Millisecond)
		wantRequests(200, 700)
		track.ReceiveRTP([]*rtp.Packet{packet(2, "K", true)})
		time.Sleep(time.Second)
		wantRequests()
	})
}

func TestPLIOfPausedReceiverIsIgnored(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		e := track.AddEdge(&recorder{}, forwarding.Paused)
		e.ReceivePLI()
		time.Sleep(time.Second)
		wantRequests()
		if n := track.Counters().PLIIgnored.Load(); n != 1 {
			t.Errorf("%d ignored PLIs counted, want 1", n)
		}
	})
}
