package fanout_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// notedRequests notes requests for keyframes in milliseconds since now.
func notedRequests() (request func(), wantRequests func(*testing.T, ...int64)) {
	begin, requests := time.Now(), make(chan int64, 1000)
	request = func() { requests <- time.Since(begin).Milliseconds() }

	return request, func(t *testing.T, want ...int64) {
		t.Helper()
		synctest.Wait()
		var got []int64
		for len(requests) > 0 {
			got = append(got, <-requests)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("requests at %v ms, want %v", got, want)
		}
	}
}

// inTime runs test on a clock of its own, with a track whose requests for keyframes
// are noted in milliseconds since the start.
func inTime(t *testing.T, test func(t *testing.T, track *fanout.Track, wantRequests func(...int64))) {
	synctest.Test(t, func(t *testing.T) {
		request, wantRequests := notedRequests()
		track := newVideo(t, request)
		defer track.Close()
		test(t, track, func(want ...int64) { t.Helper(); wantRequests(t, want...) })
	})
}

// Hazards 5 and 6: the request goes out at once and is repeated until it is
// answered, or nobody waits any more.
func TestKeyframeRequestIsRepeated(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		pr := track.Project(&recorder{}, forwarding.Unnegotiated)
		wantRequests()
		fanout.Apply([]fanout.Change{{Projection: pr, Release: forwarding.Unnegotiated}})
		wantRequests(0)
		time.Sleep(100 * time.Millisecond)
		track.ReceiveRTP(batch(), []media.Received{packet(1, "d", true)}) // no answer
		time.Sleep(600 * time.Millisecond)
		track.ReceiveRTP(batch(), []media.Received{packet(2, "d", true)})
		time.Sleep(500 * time.Millisecond)
		wantRequests(500, 1000)
		track.ReceiveRTP(batch(), []media.Received{packet(3, "K", true)})
		time.Sleep(5 * time.Second)
		wantRequests()
		fanout.Apply([]fanout.Change{pause(pr)})
		fanout.Apply([]fanout.Change{resume(pr)})
		wantRequests(6200)
		fanout.Apply([]fanout.Change{pause(pr)})
		time.Sleep(5 * time.Second)
		wantRequests()
	})
}

// Hazard 7: any number of resumes is one request.
func TestManyReleasesAreOneRequest(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		var pauses, resumes []fanout.Change
		for range 100 {
			pr := track.Project(&recorder{}, 0)
			pauses, resumes = append(pauses, pause(pr)), append(resumes, resume(pr))
		}
		wantRequests(0)
		track.ReceiveRTP(batch(), []media.Received{packet(1, "K", true)})
		fanout.Apply(pauses)
		time.Sleep(time.Second)
		fanout.Apply(resumes)
		wantRequests(1000)
		fanout.Apply(resumes)
		for _, c := range resumes {
			c.Projection.ReceivePLI()
		}
		wantRequests()
		track.ReceiveRTP(batch(), []media.Received{packet(2, "K", true)})
		time.Sleep(time.Second)
		wantRequests()
	})
}

// A wish too soon after the last request is put off, not forgotten.
func TestKeyframeRequestsKeepTheirDistance(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		pr := track.Project(&recorder{}, 0)
		wantRequests(0)
		time.Sleep(50 * time.Millisecond)
		track.ReceiveRTP(batch(), []media.Received{packet(1, "K", true)})
		pr.ReceivePLI()
		wantRequests()
		time.Sleep(750 * time.Millisecond)
		wantRequests(200, 700)
		track.ReceiveRTP(batch(), []media.Received{packet(2, "K", true)})
		time.Sleep(time.Second)
		wantRequests()
	})
}

// A keyframe that comes too late to start the receiver answers nothing.
func TestLateKeyframeIsNoAnswer(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		pr := track.Project(&recorder{}, 0)
		track.ReceiveRTP(batch(), []media.Received{packet(1, "K", true), packet(3, "d", true)})
		wantRequests(0)
		time.Sleep(time.Second)
		fanout.Apply([]fanout.Change{pause(pr)})
		fanout.Apply([]fanout.Change{resume(pr)})
		track.ReceiveRTP(batch(), []media.Received{packet(2, "K", true)})
		time.Sleep(600 * time.Millisecond)
		wantRequests(1000, 1500)
	})
}

// Once a request is answered, the next wish is not taken for a part of it.
func TestAnsweredRequestIsOver(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		pr := track.Project(&recorder{}, 0)
		time.Sleep(300 * time.Millisecond)
		track.ReceiveRTP(batch(), []media.Received{packet(1, "d", true)})
		track.ReceiveRTP(batch(), []media.Received{packet(2, "K", true)})
		pr.ReceivePLI()
		wantRequests(0, 300)
	})
}

func TestPLIOfPausedReceiverIsIgnored(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		pr := track.Project(&recorder{}, forwarding.Paused)
		pr.ReceivePLI()
		time.Sleep(time.Second)
		wantRequests()
		if n := track.Counters().PLIIgnored.Load(); n != 1 {
			t.Errorf("%d ignored PLIs counted, want 1", n)
		}
	})
}
