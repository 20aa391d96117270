package fanout_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// begun is a receiver that got the first packets, and its numbers for them.
func begun(t *testing.T, track *fanout.Track, packets ...media.Received) (*fanout.Projection, *recorder, []uint16) {
	t.Helper()
	sink := &recorder{}
	pr := track.Project(sink, 0)
	track.ReceiveRTP(batch(), packets)
	numbers, _ := sink.got()

	return pr, sink, numbers
}

// A keyframe's first packet that is lost again and again is sent again ten times.
// Then a keyframe is asked for, at once.
func TestPacketThatIsLostAgainAndAgain(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		pr, sink, n := begun(t, track, packet(1, "K", false), packet(2, "b", true))
		wantRequests(0)
		for range 10 {
			time.Sleep(90 * time.Millisecond)
			pr.ReceiveNACK(batch(), n[:1])
		}
		wantBytes(t, sink, "Kb"+strings.Repeat("K", 10))
		wantRequests()
		time.Sleep(90 * time.Millisecond)
		pr.ReceiveNACK(batch(), n[:1])
		wantBytes(t, sink, "Kb"+strings.Repeat("K", 10))
		wantRequests(990)
		if got := track.Counters().ResendsExhausted.Load(); got != 1 {
			t.Errorf("counted %d times, want once", got)
		}
		// The new keyframe makes up for the packet, and has all of its own resends.
		track.ReceiveRTP(batch(), []media.Received{packet(3, "K", true)})
		for range 11 {
			pr.ReceiveNACK(batch(), n[:1])
		}
		time.Sleep(time.Minute)
		wantRequests()
		pr.ReceiveNACK(batch(), []uint16{n[0] + 2})
		wantBytes(t, sink, "Kb"+strings.Repeat("K", 12))
		wantRequests()
	})
}

// A second after it was first sent again, a packet has come too late.
func TestPacketIsSentAgainForASecond(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		pr, sink, n := begun(t, track, packet(1, "K", false))
		wantRequests(0)
		time.Sleep(3 * time.Second) // the receiver may learn of a loss by the next frame only
		pr.ReceiveNACK(batch(), n)
		time.Sleep(time.Second)
		pr.ReceiveNACK(batch(), n)
		wantBytes(t, sink, "KKK")
		wantRequests()
		time.Sleep(time.Millisecond)
		pr.ReceiveNACK(batch(), n)
		wantBytes(t, sink, "KKK")
		wantRequests(4001)
	})
}

// Who has lost a packet for good waits like others while the sender seems to be muted: no stream begins with that.
func TestLossIsNoStart(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		pr, _, n := begun(t, track, packet(1, "K", true))
		wantRequests(0)
		time.Sleep(3 * time.Second)
		pr.ReceiveNACK(batch(), n)
		track.Project(&recorder{}, 0) // and nothing comes for it
		time.Sleep(2200 * time.Millisecond)
		wantRequests(3000, 3500, 4500)
		pr.ReceiveNACK(batch(), n)
		if got := track.Counters().ResendsExhausted.Load(); got != 1 {
			t.Errorf("counted %d times, want once", got)
		}
		wantRequests()
		time.Sleep(1300 * time.Millisecond)
		wantRequests(6500)
	})
}

// The same number comes a second time after 65,536 others: it is another packet.
func TestResendsOfANumberUsedAgain(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		pr, sink, n := begun(t, track, packet(1, "K", false))
		ask := func() {
			for range 10 {
				pr.ReceiveNACK(batch(), n)
			}
		}
		ask()
		b, burst := batch(), make([]media.Received, 1<<8)
		for i := range 1 << 16 {
			burst[i%len(burst)] = packet(uint64(2+i), "d", true)
			if i%len(burst) == len(burst)-1 {
				track.ReceiveRTP(b, burst)
			}
		}
		ask()
		if got := track.Counters().NACKAnswered.Load(); got != 20 {
			t.Errorf("%d packets sent again, want 20", got)
		}
		if got, _ := sink.got(); len(got) != 1+1<<16+20 || got[len(got)-1] != n[0] {
			t.Errorf("%d packets, the last one number %d", len(got), got[len(got)-1])
		}
		wantRequests(0)
	})
}

// A link that loses most of what it gets is not given several times as much: 128 KiB
// are sent again, and after that as much as is sent for the first time.
func TestResendsHaveABudgetOfBytes(t *testing.T) {
	inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
		const size, frame = 1000, 50
		payload := strings.Repeat("d", size-1)
		pr, sink, _ := begun(t, track, packet(0, "K"+payload, false))
		again := func() (bytes int) {
			sink.mu.Lock()
			defer sink.mu.Unlock()

			return sink.again * size
		}
		next, before := uint64(1), 0
		for round := range 5 { // 250 KB, each packet asked for ten times
			var missing []uint16
			for range frame {
				track.ReceiveRTP(batch(), []media.Received{packet(next, "d"+payload, false)})
				next++
			}
			numbers, _ := sink.got()
			last := numbers[0] + uint16(next) - 1
			for range frame {
				missing = append(missing, last-uint16(len(missing)))
			}
			for range 10 {
				pr.ReceiveNACK(batch(), missing)
			}
			got := again() - before
			before = again()
			least, most := (frame-1)*size, (frame+1)*size
			if round == 0 {
				least, most = 128<<10-size, 128<<10
			}
			if got < least || got > most {
				t.Errorf("round %d: %d bytes sent again, want %d to %d", round, got, least, most)
			}
		}
		wantRequests(0)
		time.Sleep(200 * time.Millisecond)
		wantRequests(200) // for what is beyond the budget
	})
}

// What was never sent, and what is not needed any more, is no reason for a keyframe,
// however often it is asked for.
func TestNoKeyframeForWhatWasNotSent(t *testing.T) {
	key, half, delta := packet(1, "K", true), packet(1, "K", false), packet(3, "d", true)
	for name, test := range map[string]struct {
		packets []media.Received
		cut     bool // before the keyframe that goes on
		missing int  // counted from the first packet's number
	}{
		"lost on the way to us":       {packets: []media.Received{half, delta}, missing: 1},
		"not sent yet":                {packets: []media.Received{half}, missing: 1},
		"before the first":            {packets: []media.Received{half}, missing: -1},
		"left out after half a frame": {packets: []media.Received{half}, cut: true, missing: 1},
		"from before the cut":         {packets: []media.Received{key}, cut: true, missing: 0},
		"before the newest keyframe": {packets: []media.Received{key, packet(2, "d", true), packet(3, "K", true)},
			missing: 1},
		"the keyframe before the last": {packets: []media.Received{key, packet(2, "K", true)}, missing: 0},
		"late, behind the new keyframe": {packets: []media.Received{key, packet(3, "K", true), packet(2, "d", true)},
			missing: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, track *fanout.Track, wantRequests func(...int64)) {
				pr, _, n := begun(t, track, test.packets...)
				wantRequests(0)
				time.Sleep(5 * time.Second)
				if test.cut {
					fanout.Apply([]fanout.Change{pause(pr)})
					fanout.Apply([]fanout.Change{resume(pr)})
					track.ReceiveRTP(batch(), []media.Received{packet(10, "K", true)})
					wantRequests(5000)
				}
				for range 20 {
					pr.ReceiveNACK(batch(), []uint16{n[0] + uint16(test.missing)})
				}
				time.Sleep(5 * time.Second)
				wantRequests()
			})
		})
	}
}

// While the projection is withheld, or waits for its keyframe, nothing can be missing.
func TestNoKeyframeForNACKsDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		request, wantRequests := notedRequests()
		track := newVideo(t, request)
		defer track.Close()
		pr, _, n := begun(t, track, packet(1, "K", true))
		wantRequests(t, 0)
		for range 10 {
			pr.ReceiveNACK(batch(), n)
		}
		fanout.Apply([]fanout.Change{pause(pr)})
		pr.ReceiveNACK(batch(), n)
		time.Sleep(5 * time.Second)
		wantRequests(t)
		fanout.Apply([]fanout.Change{resume(pr)})
		pr.ReceiveNACK(batch(), n)
		wantRequests(t, 5000)
	})
}
