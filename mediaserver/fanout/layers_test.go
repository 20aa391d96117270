package fanout_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
)

// simulcast is a sender with three layers on a clock of its own, and what was asked of it.
type simulcast struct {
	track    *fanout.Track
	next     [media.MaxLayers]uint64
	requests []media.Layers
}

func startSimulcast(config fanout.Config) *simulcast {
	s := &simulcast{next: [media.MaxLayers]uint64{numbers.Apart, 2 * numbers.Apart, 3 * numbers.Apart}}
	config.Kind, config.RequestKeyframe = media.Video, func(layers media.Layers) {
		s.requests = append(s.requests,
			layers)
	}
	if config.Inspect == nil {
		config.Inspect = inspect
	}
	s.track = fanout.NewTrack(config)

	return s
}

// frame makes a frame of one packet. Each layer has a clock of its own.
func (s *simulcast) frame(layer media.Layer, payload string) media.Received {
	p := media.Received{
		Layer: layer, SSRC: 100 + uint32(layer), SequenceNumber: s.next[layer], Marker: true, Payload: []byte(payload),
		Timestamp: 1_000_000*uint32(layer) + uint32(time.Now().UnixMilli())*90,
	}
	s.next[layer]++

	return p
}

// send has the sender send frames of one layer, one for each letter.
func (s *simulcast) send(layer media.Layer, letters string) {
	for _, letter := range letters {
		s.track.ReceiveRTP(batch(), []media.Received{s.frame(layer, string(letter))})
	}
}

// tick sends frames of layers, one each, again and again.
func (s *simulcast) tick(times int, layers ...media.Layer) {
	for range times {
		time.Sleep(33 * time.Millisecond)
		for _, layer := range layers {
			s.send(layer, string(rune('a'+layer)))
		}
	}
}

func (s *simulcast) wantRequests(t *testing.T, want ...media.Layers) {
	t.Helper()
	synctest.Wait()
	if !slices.Equal(s.requests, want) {
		t.Errorf("keyframes were asked of %03b, want %03b", s.requests, want)
	}
	s.requests = nil
}

// A receiver goes on with the layer that it chose at that one's keyframe; until then the
// present one flows, and what left on it can be asked for afterwards.
func TestChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := startSimulcast(fanout.Config{}), &recorder{}
		defer s.track.Close()
		pr := s.track.Project(sink, 0)
		pr.Choose(0)
		s.send(0, "K")
		s.send(2, "x")
		s.wantRequests(t, media.LayersOf(0))
		time.Sleep(time.Second)
		pr.Choose(2)
		s.wantRequests(t, media.LayersOf(2))
		s.send(2, "y")
		s.send(0, "a")
		s.send(2, "Kc")
		s.send(0, "b")
		n := wantBytes(t, sink, "KaKc")
		wantContiguous(t, n)
		pr.ReceiveNACK(batch(), n)
		wantBytes(t, sink, "KaKcKaKc")
		fanout.Apply([]fanout.Change{pause(pr)})
		fanout.Apply([]fanout.Change{resume(pr)})
		pr.ReceiveNACK(batch(), n)
		s.send(0, "K")
		s.send(2, "K")
		if n := wantBytes(t, sink, "KaKcKaKcK"); n[8] != n[3]+1 {
			t.Errorf("number %d after a pause, want %d", n[8], n[3]+1)
		}
	})
}

// A projection for which nothing was chosen takes the highest layer there is, with that
// one's first packet if it is a keyframe's: nobody is asked for another.
func TestHighestLayerByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := startSimulcast(fanout.Config{}), &recorder{}
		defer s.track.Close()
		s.track.Project(sink, 0)
		s.send(0, "K")
		s.wantRequests(t, media.LayersOf(0))
		time.Sleep(200 * time.Millisecond)
		s.send(2, "Kc")
		s.send(0, "a")
		s.send(1, "K")
		wantContiguous(t, wantBytes(t, sink, "KKc"))
		s.wantRequests(t)
	})
}

// A layer that is silent while others come is replaced at once, and is gone back to when it
// has come for a while.
func TestVanishingLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := startSimulcast(fanout.Config{}), &recorder{}
		defer s.track.Close()
		pr := s.track.Project(sink, 0)
		for _, layer := range []media.Layer{2, 1, 0} {
			s.send(layer, "K")
		}
		s.wantRequests(t, media.LayersOf(0)) // with the projection, when nothing was known yet
		s.tick(10, 0, 1, 2)
		s.tick(17, 0, 1) // 561 ms
		s.wantRequests(t, media.LayersOf(1))
		s.send(1, "K")
		s.tick(10, 0, 1)
		if layer, flows := pr.Layer(); layer != 1 || !flows {
			t.Fatalf("layer %d, %v, want 1", layer, flows)
		}
		s.tick(40, 0, 1, 2) // 1.3 s
		s.wantRequests(t, media.LayersOf(2))
		s.send(2, "K")
		s.tick(1, 0, 1, 2)
		numbers, bytes := sink.got()
		wantContiguous(t, numbers)
		if got := string(bytes[len(bytes)-2:]); got != "Kc" {
			t.Errorf("the last are %q, want Kc", got)
		}
	})
}

// A pause leaves all layers; what is chosen meanwhile, or vanishes, wants no keyframe, and
// the projection resumes on the layer that is wanted then.
func TestPauseStandsAboveLayers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := startSimulcast(fanout.Config{}), &recorder{}
		defer s.track.Close()
		pr := s.track.Project(sink, 0)
		s.send(2, "K")
		s.send(0, "K")
		pr.Choose(0)
		s.requests = nil
		fanout.Apply([]fanout.Change{pause(pr)}) // between two layers
		before, _ := pr.LastSequenceNumber()
		s.tick(60, 0, 2) // so long that no request that is out would be for what follows, too
		pr.ReceivePLI()
		pr.Choose(2)
		s.send(0, "Ka")
		s.send(2, "Kc")
		s.tick(20, 0)
		pr.Choose(1)
		s.wantRequests(t)
		if last, _ := pr.LastSequenceNumber(); last != before {
			t.Errorf("number %d after %d, the last of a paused projection", last, before)
		}
		fanout.Apply([]fanout.Change{resume(pr)})
		s.wantRequests(t, media.LayersOf(0)) // the nearest to 1 that is there
		s.send(0, "K")
		wantContiguous(t, wantBytes(t, sink, "KK"))
	})
}

// Receivers of several layers that resume at once cost one request. Where the sender is
// seen to answer one for all layers, a wish for one serves the others.
func TestRequestsAreForAllLayersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSimulcast(fanout.Config{})
		defer s.track.Close()
		var projections []*fanout.Projection
		var changes []fanout.Change
		for layer := range media.Layer(media.MaxLayers) {
			pr := s.track.Project(&recorder{}, forwarding.Paused)
			pr.Choose(layer)
			projections, changes = append(projections, pr), append(changes, resume(pr))
			s.send(layer, "K")
		}
		fanout.Apply(changes)
		all := media.LayersOf(0, 1, 2)
		s.wantRequests(t, all)
		s.send(0, "K")
		s.send(1, "K")
		time.Sleep(keyframeRetry)
		s.wantRequests(t, media.LayersOf(2)) // alone is asked for again
		for layer := range media.Layer(media.MaxLayers) {
			s.send(layer, "K") // all of them answer
		}
		time.Sleep(2 * time.Second)
		projections[0].ReceivePLI()
		projections[1].ReceivePLI()
		s.wantRequests(t, media.LayersOf(0))
		s.send(0, "K")
		time.Sleep(keyframeRetry)
		s.wantRequests(t, media.LayersOf(1)) // the sender does so no more
	})
}

const keyframeRetry = 500 * time.Millisecond

// Layers are on one timeline, and a receiver's reports are those of the layer that it gets,
// moved as its packets are.
func TestLayersShareATimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := startSimulcast(fanout.Config{}), &recorder{}
		defer s.track.Close()
		pr := s.track.Project(sink, 0)
		pr.Choose(0)
		s.send(0, "K")
		time.Sleep(7 * time.Millisecond) // the other layer's encoder is slower
		p := s.frame(1, "x")
		p.Timestamp -= 7 * 90
		s.track.ReceiveRTP(batch(), []media.Received{p})
		report := func(layer media.Layer) {
			now := uint32(time.Now().UnixMilli())
			s.track.ReceiveSenderReport(batch(), layer, uint64(now)<<32/1000, 1_000_000*uint32(layer)+now*90)
		}
		report(0)
		report(1)
		time.Sleep(100 * time.Millisecond)
		pr.Choose(1)
		s.send(1, "K")
		report(0)
		report(1)
		if ticks := sink.times[1] - sink.times[0]; ticks != 107*90 {
			t.Errorf("%d ticks between two frames 107 ms apart, want %d", ticks, 107*90)
		}
		if len(sink.clocks) != 2 || sink.clocks[1].rtpTime != sink.times[1] {
			t.Errorf("reports of %v, packets at %v", sink.clocks, sink.times)
		}
	})
}

// Picture ids go on across layers, and what is sent again has those that it had.
func TestPictureIDsGoOnAcrossLayers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := startSimulcast(fanout.Config{Inspect: codecs.VP8.Inspect}), &payloads{}
		defer s.track.Close()
		pr := s.track.Project(sink, 0)
		pr.Choose(0)
		picture := func(layer media.Layer, id byte, key bool) {
			p := s.frame(layer, "")
			p.Payload = []byte{0x90, 0x80, 0x80, id, 1}
			if key {
				p.Payload[4] = 0
			}
			s.track.ReceiveRTP(batch(), []media.Received{p})
		}
		picture(0, 10, true)
		picture(2, 200, true)
		picture(0, 11, false)
		pr.Choose(2)
		picture(2, 201, true)
		picture(2, 202, false)
		fanout.Apply([]fanout.Change{pause(pr)})
		picture(2, 203, false)
		pr.Choose(0)
		fanout.Apply([]fanout.Change{resume(pr)})
		picture(0, 40, true)
		pr.Choose(2)
		picture(2, 210, true)
		pr.ReceiveNACK(batch(), sink.numbers[4:])
		if want := []byte{10, 11, 12, 13, 14, 15, 14, 15}; !slices.Equal(sink.ids, want) {
			t.Errorf("picture ids %v, want %v", sink.ids, want)
		}
	})
}

// Copies of packets are no sign of life: browsers probe the bandwidth with them. Nor is it lost on a
// receiver that a layer has gone when the next thing to come is a copy.
func TestCopiesAreNoSignOfLife(t *testing.T) {
	for name, copied := range map[string]media.Layer{"of the silent layer": 2, "of the other": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := startSimulcast(fanout.Config{})
				defer s.track.Close()
				s.track.Project(&recorder{}, 0)
				s.send(0, "K")
				s.send(2, "K")
				s.tick(10, 0, 2)
				s.requests = nil
				for range 15 {
					s.tick(1, 0)
					s.next[copied]--
					s.send(copied, "x")
				}
				time.Sleep(20 * time.Millisecond) // 515 ms since the last of layer 2
				s.next[copied]--
				s.send(copied, "x")
				s.tick(1, 0)
				s.wantRequests(t, media.LayersOf(0))
			})
		})
	}
}

// A keyframe that was asked for by itself, and comes only after a request for another layer, does not
// show that the sender answers each request for all layers.
func TestLateAnswersAreNotTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startSimulcast(fanout.Config{})
		defer s.track.Close()
		small, large := s.track.Project(&recorder{}, 0), s.track.Project(&recorder{}, 0)
		small.Choose(0)
		s.send(0, "K")
		s.send(2, "K")
		time.Sleep(5 * time.Second)
		s.requests = nil
		small.ReceivePLI()
		time.Sleep(250 * time.Millisecond)
		large.ReceivePLI()
		s.send(0, "K")
		s.send(2, "K")
		s.wantRequests(t, media.LayersOf(0), media.LayersOf(2))
		time.Sleep(2 * time.Second)
		small.ReceivePLI()
		s.send(0, "K")
		s.wantRequests(t, media.LayersOf(0))
		time.Sleep(time.Second)
		s.send(2, "K") // of its own accord
		time.Sleep(time.Second)
		small.ReceivePLI()
		large.ReceivePLI()
		time.Sleep(250 * time.Millisecond)
		s.wantRequests(t, media.LayersOf(0), media.LayersOf(2))
	})
}

// Picture ids go on across packets without any, and across an encoder's restart: on the layer that flows, and where the
// receiver goes on with another one after it.
func TestPictureIDsGoOnAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := startSimulcast(fanout.Config{Inspect: codecs.VP8.Inspect}), &payloads{}
		defer s.track.Close()
		pr := s.track.Project(sink, 0)
		pr.Choose(0)
		picture := func(layer media.Layer, id, interframe byte) {
			p := s.frame(layer, "")
			p.Payload = []byte{0x90, 0x80, 0x80, id, interframe}
			s.track.ReceiveRTP(batch(), []media.Received{p})
		}
		padding := func(layer media.Layer) { s.track.ReceiveRTP(batch(), []media.Received{s.frame(layer, "")}) }
		restart := func(layer media.Layer) { s.next[layer] += 2 * numbers.Apart }
		picture(0, 10, 0)
		picture(2, 200, 0)
		padding(0)
		pr.Choose(2)
		picture(2, 201, 0)
		restart(2)
		picture(2, 90, 0)
		picture(2, 91, 1)
		restart(2)
		picture(2, 50, 1) // no keyframe: what restarts is waited for
		pr.Choose(0)
		picture(0, 70, 0)
		restart(0)
		picture(0, 150, 1)
		picture(0, 151, 0)
		picture(0, 152, 1)
		if want := []byte{10, 11, 12, 13, 14, 15, 16}; !slices.Equal(sink.ids, want) {
			t.Errorf("picture ids %v, want %v", sink.ids, want)
		}
	})
}

// What each layer takes is measured where the sender's packets arrive, whoever gets them.
func TestLayersAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track := newVideo(t, func() {})
		if there, rates := track.Layers(time.Now()); there != 0 || rates != [media.MaxLayers]int{} {
			t.Errorf("before anything came: %b, %v", there, rates)
		}
		for n := range uint64(100) { // 4 s
			for layer, size := range []int{1000, 3000} {
				p := packet(n+1, string(make([]byte, size)), true)
				p.Layer = media.Layer(layer)
				track.ReceiveRTP(batch(), []media.Received{p})
			}
			time.Sleep(40 * time.Millisecond)
		}
		there, rates := track.Layers(time.Now())
		if there != media.LayersOf(0, 1) || rates != [media.MaxLayers]int{200_000, 600_000, 0} {
			t.Errorf("%b, %v", there, rates)
		}
		track.Close()
	})
}
