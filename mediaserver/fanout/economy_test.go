package fanout_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

const (
	frameInterval = 20 * time.Millisecond
	frameBytes    = 2500  // 1 Mbit/s
	keyframeBytes = 40000 // at a picture that moves
)

// encoder is a sender whose next frame is a keyframe when it is asked for one, and
// never otherwise.
type encoder struct {
	track     *fanout.Track
	requests  chan time.Time
	batch     *udp.Batch
	number    uint64
	keyframes int
	bytes     int
}

// withEncoder runs test on a clock of its own, with receivers that have begun, and a
// minute after that.
func withEncoder(t *testing.T, receivers int, test func(t *testing.T, s *encoder, projections []*fanout.Projection)) {
	synctest.Test(t, func(t *testing.T) {
		s := &encoder{requests: make(chan time.Time, 1000), batch: batch()}
		s.track = newVideo(t, func() { s.requests <- time.Now() })
		defer s.track.Close()
		var projections []*fanout.Projection
		for range receivers {
			projections = append(projections, s.track.Project(discard{}, 0))
		}
		s.run(time.Minute, nil)
		s.keyframes, s.bytes = 0, 0
		test(t, s, projections)
	})
}

// run sends frames for so long, act before each.
func (s *encoder) run(d time.Duration, act func(frame int)) {
	for i := range int(d / frameInterval) {
		if act != nil {
			act(i)
		}
		s.frame(len(s.asked()) > 0)
		time.Sleep(frameInterval)
	}
}

// asked is when the sender was asked for a keyframe since the last look.
func (s *encoder) asked() (at []time.Time) {
	synctest.Wait()
	for len(s.requests) > 0 {
		at = append(at, <-s.requests)
	}

	return at
}

func (s *encoder) frame(keyframe bool) {
	payload, packets := "d", frameBytes/1250
	if keyframe {
		payload, packets = "K", keyframeBytes/1250
		s.keyframes++
	}
	burst := make([]media.Received, packets)
	for i := range burst {
		burst[i] = packet(s.number, payload+string(make([]byte, 1249)), i == packets-1)
		payload = "d"
		s.number++
		s.bytes += 1250
	}
	s.track.ReceiveRTP(s.batch, burst)
}

// wantAsked checks that the sender is asked at this moment, and was not since the last
// look.
func (s *encoder) wantAsked(t *testing.T, what string) {
	t.Helper()
	if at := s.asked(); !slices.Equal(at, []time.Time{time.Now()}) {
		t.Errorf("%s: the sender was asked at %v, want now, %v", what, at, time.Now())
	}
}

// toggle pauses and resumes a projection ten times a second.
func toggle(pr *fanout.Projection, frame int) {
	switch frame % 5 {
	case 0:
		fanout.Apply([]fanout.Change{pause(pr)})
	case 2:
		fanout.Apply([]fanout.Change{resume(pr)})
	}
}

// askInTurn has one receiver more begin to ask, each time, every 100 ms.
func askInTurn(projections []*fanout.Projection, frame int) {
	for _, pr := range projections[:min(len(projections), frame/5+1)] {
		pr.ReceivePLI()
	}
}

// What receivers may cost a sender, and so all others, in keyframes and bytes. This
// sender's minute is 7.5 MB by itself, and without a budget a receiver that asks every
// time would make it 17 MB.
func TestKeyframeEconomy(t *testing.T) {
	each := func(frames int) func([]*fanout.Projection, int) {
		return func(projections []*fanout.Projection, frame int) {
			if frame%frames == 0 {
				projections[0].ReceivePLI()
			}
		}
	}
	for name, test := range map[string]struct {
		act       func(projections []*fanout.Projection, frame int)
		keyframes int     // in a minute, at most
		bytes     float64 // in parts of what the sender sends by itself, at most
	}{
		"one PLI":           {each(1 << 20), 1, 1.01},
		"a PLI each 20 ms":  {each(1), 13, 1.07},
		"cannot decode":     {each(11), 13, 1.07}, // and says so each 220 ms
		"a PLI each second": {each(50), 13, 1.07},
		"toggles":           {func(projections []*fanout.Projection, frame int) { toggle(projections[0], frame) }, 13, 1.07},
		"toggles and asks": {func(projections []*fanout.Projection, frame int) {
			toggle(projections[0], frame)
			projections[0].ReceivePLI()
		}, 13, 1.07},
		"all cannot decode": {func(projections []*fanout.Projection, frame int) {
			for i, pr := range projections {
				if frame%11 == i%11 {
					pr.ReceivePLI()
				}
			}
		}, 65, 1.33},
		"all toggle": {func(projections []*fanout.Projection, frame int) {
			toggle(projections[frame/5%len(projections)], frame)
		}, 65, 1.33},
		"all ask at other times": {askInTurn, 65, 1.33},
	} {
		t.Run(name, func(t *testing.T) {
			withEncoder(t, 100, func(t *testing.T, s *encoder, projections []*fanout.Projection) {
				s.run(time.Minute, func(frame int) { test.act(projections, frame) })
				limit := test.bytes * float64(time.Minute/frameInterval*frameBytes)
				if s.keyframes < 1 || s.keyframes > test.keyframes || float64(s.bytes) > limit {
					t.Errorf("%d keyframes, %d bytes; want %d keyframes, %.0f bytes at most",
						s.keyframes, s.bytes, test.keyframes, limit)
				}
			})
		})
	}
}

// A receiver that has asked too often is heard at once when it has been quiet.
func TestFirstWishAfterQuietIsGrantedAtOnce(t *testing.T) {
	withEncoder(t, 2, func(t *testing.T, s *encoder, projections []*fanout.Projection) {
		projections[0].ReceivePLI()
		s.wantAsked(t, "a first PLI")
		s.run(time.Minute, func(int) { projections[0].ReceivePLI() })
		s.run(time.Minute, nil)
		for range 3 {
			projections[0].ReceivePLI()
			s.wantAsked(t, "a PLI after quiet")
			s.frame(true)
			s.run(300*time.Millisecond, nil)
		}
	})
}

// A receiver that resumes waits for no budget of receivers, be it its own.
func TestResumeIsAskedForAtOnce(t *testing.T) {
	withEncoder(t, 2, func(t *testing.T, s *encoder, projections []*fanout.Projection) {
		s.run(time.Minute, func(int) { projections[0].ReceivePLI() })
		for range 20 {
			fanout.Apply([]fanout.Change{pause(projections[0])})
			s.run(1100*time.Millisecond, nil)
			fanout.Apply([]fanout.Change{resume(projections[0])})
			s.wantAsked(t, "a resume")
			s.frame(true)
		}
	})
}

// Nor does it wait because all the others cannot go on: requests are 200 ms apart.
func TestResumeAmongManyThatCannotGoOn(t *testing.T) {
	withEncoder(t, 100, func(t *testing.T, s *encoder, projections []*fanout.Projection) {
		others, pr := projections[1:], projections[0]
		ask := func(frame int) { askInTurn(others, frame) }
		s.run(time.Minute, ask)
		ask = func(int) { askInTurn(others, 1<<20) }
		for range 20 {
			fanout.Apply([]fanout.Change{pause(pr)})
			s.run(1100*time.Millisecond, ask)
			fanout.Apply([]fanout.Change{resume(pr)})
			s.run(220*time.Millisecond, ask)
			if _, waits := pr.Withheld(); waits {
				t.Fatal("no keyframe 220 ms after a resume")
			}
		}
		s.keyframes = 0
		s.run(time.Minute, ask)
		if s.keyframes > 65 {
			t.Errorf("%d keyframes in a minute", s.keyframes)
		}
	})
}

// A receiver whose pauses come and go is not forgotten when they end.
func TestTogglesEndInAKeyframe(t *testing.T) {
	withEncoder(t, 1, func(t *testing.T, s *encoder, projections []*fanout.Projection) {
		s.run(time.Minute, func(frame int) { toggle(projections[0], frame) })
		if _, waits := projections[0].Withheld(); !waits {
			t.Fatal("the last resume is answered already")
		}
		s.run(8*time.Second, nil)
		if _, waits := projections[0].Withheld(); waits {
			t.Error("the last resume is not answered within 8 s")
		}
	})
}

// The repetition of a request that another receiver made, and does not need any more,
// is no way around a receiver's budget.
func TestRepetitionKeepsToTheBudget(t *testing.T) {
	withEncoder(t, 2, func(t *testing.T, s *encoder, projections []*fanout.Projection) {
		s.run(time.Minute, func(int) { projections[0].ReceivePLI() })
		for len(s.asked()) == 0 {
			projections[0].ReceivePLI()
			time.Sleep(frameInterval)
		}
		s.frame(true)
		granted := time.Now()
		projections[0].ReceivePLI()
		time.Sleep(time.Second)
		fanout.Apply([]fanout.Change{pause(projections[1])})
		fanout.Apply([]fanout.Change{resume(projections[1])})
		s.wantAsked(t, "a resume")
		fanout.Apply([]fanout.Change{pause(projections[1])})
		time.Sleep(6 * time.Second)
		if asked := s.asked(); len(asked) != 0 {
			t.Errorf("asked at %v, %v after the last keyframe", asked, asked[0].Sub(granted))
		}
		time.Sleep(2 * time.Second)
		if asked := s.asked(); len(asked) == 0 {
			t.Error("the receiver's own wish is forgotten")
		}
	})
}

// A sender of which nothing comes is asked ever more rarely, whoever asks, and at once
// when it sends again.
func TestMutedSenderIsAskedEverMoreRarely(t *testing.T) {
	withEncoder(t, 10, func(t *testing.T, s *encoder, projections []*fanout.Projection) {
		begin := time.Now()
		for range 10 * time.Minute / frameInterval {
			for _, pr := range projections {
				pr.ReceivePLI()
			}
			time.Sleep(frameInterval)
		}
		asked := s.asked()
		var at []float64
		for _, a := range asked {
			at = append(at, a.Sub(begin).Seconds())
		}
		want := []float64{
			0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 63.5,
			127.5, 191.5, 255.5, 319.5, 383.5, 447.5, 511.5, 575.5,
		}
		if !slices.Equal(at, want) {
			t.Errorf("asked at %v, want %v", at, want)
		}
		s.frame(false)
		s.wantAsked(t, "a packet after the silence")
		s.frame(true)
		time.Sleep(time.Minute)
		if asked := s.asked(); len(asked) != 0 {
			t.Errorf("asked at %v though nobody waits", asked)
		}
	})
}

// A stream's start is asked for at once though the sender seems to be muted.
func TestResumeOfAMutedSender(t *testing.T) {
	withEncoder(t, 2, func(t *testing.T, s *encoder, projections []*fanout.Projection) {
		projections[0].ReceivePLI()
		time.Sleep(5 * time.Minute)
		s.asked()
		fanout.Apply([]fanout.Change{pause(projections[1])})
		fanout.Apply([]fanout.Change{resume(projections[1])})
		s.wantAsked(t, "a resume")
		time.Sleep(63 * time.Second)
		if asked := s.asked(); len(asked) != 0 {
			t.Errorf("asked at %v, though the sender has been silent for minutes", asked)
		}
	})
}

// Another layer is a start, for which the sender is asked at once though it seems to be muted.
func TestChoiceWhileTheSenderIsMuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSimulcast(fanout.Config{})
		defer s.track.Close()
		high, low := s.track.Project(&recorder{}, 0), s.track.Project(&recorder{}, 0)
		s.send(0, "K")
		s.send(1, "K")
		low.Choose(0)
		s.send(0, "K")
		s.tick(100, 0, 1)
		synctest.Wait()
		s.requests = nil
		high.ReceivePLI()
		time.Sleep(2200 * time.Millisecond)
		one := media.LayersOf(1)
		s.wantRequests(t, one, one, one)
		high.ReceivePLI()
		s.wantRequests(t)
		low.Choose(1)
		s.wantRequests(t, one)
	})
}
