package fanout_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// many is a burst that is large enough to be handed over for a single projection.
func many(first uint64, payload string) []media.Received {
	burst := make([]media.Received, 32)
	for i := range burst {
		burst[i] = packet(first+uint64(i), "d", i == len(burst)-1)
	}
	burst[0].Payload = []byte(payload)

	return burst
}

// onWorkers is a track on held workers, on a clock of its own.
func onWorkers(t *testing.T, test func(t *testing.T, track *fanout.Track, h *held, wantRequests func(...int64))) {
	synctest.Test(t, func(t *testing.T) {
		h := holdWorkers(2)
		requests, wantRequests := notedRequests()
		track := fanout.NewTrack(fanout.Config{
			Kind: media.Video, Inspect: inspect, RequestKeyframe: func(media.Layers) { requests() }, HandOver: 32, Workers: h,
		})
		defer track.Close()
		test(t, track, h, func(want ...int64) { t.Helper(); wantRequests(t, want...) })
	})
}

// Bursts walked here and bursts handed over come in the sender's order, whether the
// reader's batch is flushed in between or not, and none is lost.
func TestOrderOfHandedOverBursts(t *testing.T) {
	for _, flush := range []bool{true, false} {
		t.Run(fmt.Sprintf("flushed in between: %v", flush), func(t *testing.T) {
			var sent network
			r := startRunners(t, 2, sent.send)
			track := fanout.NewTrack(fanout.Config{Kind: media.Audio, Inspect: inspectAudio, HandOver: 32, Workers: r})
			for i := range 8 {
				track.Project(&wire{worker: i % 2, ssrc: uint32(i)}, 0)
			}
			b := udp.NewBatch(0, sent.send)
			var n uint64
			payload := make([]byte, 100)
			for range 2000 {
				burst := make([]media.Received, 1+rand.IntN(12))
				for i := range burst {
					burst[i] = packet(n, string(payload), false)
					n++
				}
				track.ReceiveRTP(b, burst)
				for i := range burst { // the reader's memory is used again
					clear(burst[i].Payload)
					burst[i] = media.Received{}
				}
				if flush {
					b.Flush()
				}
				if rand.IntN(8) == 0 { // or on a busy machine every burst is behind one handed over
					r.Quiesce()
				}
			}
			b.Flush()
			r.Quiesce()
			for ssrc := range uint32(8) {
				numbers := sent.numbers(ssrc)
				wantContiguous(t, numbers)
				if len(numbers) != int(n) {
					t.Errorf("receiver %d got %d packets of %d", ssrc, len(numbers), n)
				}
			}
			if handed := track.Counters().HandedOver.Load(); handed == 0 || handed == 2000 {
				t.Errorf("%d bursts of 2000 handed over: the test mixes nothing", handed)
			}
		})
	}
}

// A payload that is handed over is a copy.
func TestHandedOverPayloadsAreCopies(t *testing.T) {
	h := holdWorkers(2)
	track, sink := fanout.NewTrack(fanout.Config{Kind: media.Audio, Inspect: inspectAudio, HandOver: 32,
		Workers: h}), &recorder{worker: 1}
	track.Project(sink, 0)
	burst := many(1, "d")
	track.ReceiveRTP(h.batches[0], burst)
	for i := range burst {
		burst[i].Payload[0] = 'x'
	}
	burst = many(33, "e") // a second burst under way, small enough to be walked here
	track.ReceiveRTP(h.batches[0], burst[:1])
	burst[0].Payload[0] = 'x'
	h.run(t, 1, 2)
	numbers := wantBytes(t, sink, strings.Repeat("d", 32)+"e")
	wantContiguous(t, numbers)
	track.ReceiveRTP(h.batches[0], burst[1:2])
	h.run(t, 1, 0) // nothing is pending any more
}

// A burst that is on its way to the kernel is not overtaken either.
func TestBurstBehindOneBeingFlushed(t *testing.T) {
	h := holdWorkers(2)
	track := fanout.NewTrack(fanout.Config{Kind: media.Audio, Inspect: inspectAudio, HandOver: 32, Workers: h})
	track.Project(&wire{worker: 1}, 0)
	came := false
	h.batches[1] = udp.NewBatch(1, func([]byte, *udp.Destination) {
		if !came {
			came = true
			track.ReceiveRTP(h.batches[0], []media.Received{packet(33, "d", true)})
		}
	})
	track.ReceiveRTP(h.batches[0], many(1, "d"))
	first := h.jobs[1][0]
	h.jobs[1] = nil
	first.Run(h.batches[1])
	if !came || len(h.jobs[1]) != 1 {
		t.Errorf("%d bursts handed over behind the one being flushed, want 1", len(h.jobs[1]))
	}
}

// A sender whose address changes may come through two workers at once.
func TestTwoReadersOfOneSender(t *testing.T) {
	const packets = 4000 // a multiple of 32
	var sent network
	r := startRunners(t, 2, sent.send)
	track := fanout.NewTrack(fanout.Config{Kind: media.Audio, Inspect: inspectAudio, HandOver: 32, Workers: r})
	for i := range 4 {
		track.Project(&wire{worker: i % 2, ssrc: uint32(i)}, 0)
	}
	readers := []*udp.Batch{udp.NewBatch(0, sent.send), udp.NewBatch(1, sent.send)}
	track.ReceiveRTP(readers[0], []media.Received{packet(0, "d", true)})
	readers[0].Flush()
	// Burst beside burst: a reader that the machine lets wait for longer would bring
	// what the source takes for packets from too long ago.
	for first := uint64(1); first <= packets; {
		var reading sync.WaitGroup
		for _, b := range readers {
			burst := make([]media.Received, 16)
			for i := range burst {
				burst[i] = packet(first, "d", true)
				first++
			}
			reading.Go(func() {
				track.ReceiveRTP(b, burst)
				b.Flush()
			})
		}
		reading.Wait()
	}
	r.Quiesce()
	for ssrc := range uint32(4) {
		numbers := sent.numbers(ssrc)
		distance := make([]int, len(numbers))
		for i, n := range numbers {
			distance[i] = int(n - numbers[0])
		}
		slices.Sort(distance)
		for i, d := range distance {
			if i != d {
				t.Fatalf("receiver %d: packet %d came twice or not at all", ssrc, i)
			}
		}
		if len(numbers) != packets+1 {
			t.Errorf("receiver %d got %d packets of %d", ssrc, len(numbers), packets+1)
		}
	}
}

// The fence holds for bursts that wait for a worker: nothing of them leaves, and what
// the projection missed they do not start it with afterwards.
func TestFenceBeforeAHandedOverBurst(t *testing.T) {
	for name, cut := range map[string]func(*fanout.Projection){
		"a pause":   func(pr *fanout.Projection) { fanout.Apply([]fanout.Change{pause(pr)}) },
		"a removal": (*fanout.Projection).Remove,
		"a pause and a resume": func(pr *fanout.Projection) {
			fanout.Apply([]fanout.Change{pause(pr)})
			fanout.Apply([]fanout.Change{resume(pr)})
		},
		"both at once": func(pr *fanout.Projection) { fanout.Apply([]fanout.Change{pause(pr), resume(pr)}) },
	} {
		t.Run(name, func(t *testing.T) {
			onWorkers(t, func(t *testing.T, track *fanout.Track, h *held, _ func(...int64)) {
				sink, other := &recorder{worker: 1}, &recorder{worker: 1}
				pr := track.Project(sink, 0)
				track.Project(other, 0)
				track.ReceiveRTP(h.batches[0], []media.Received{packet(1, "K", true)})
				track.ReceiveRTP(h.batches[0], many(2, "K"))
				cut(pr)
				h.run(t, 1, 1)
				numbers := wantBytes(t, sink, "K")
				if last, _ := pr.LastSequenceNumber(); last != numbers[0] {
					t.Errorf("last number %d, want %d", last, numbers[0])
				}
				if got, _ := other.got(); len(got) != 33 {
					t.Errorf("the other receiver got %d packets, want 33", len(got))
				}
			})
		})
	}
}

// Hazard 25: a burst under way from before a pause must not start the projection after
// it, for bursts behind it, with a new run of the sender perhaps, went by without the
// projection.
func TestResumedProjectionSkipsBurstsFromBefore(t *testing.T) {
	onWorkers(t, func(t *testing.T, track *fanout.Track, h *held, _ func(...int64)) {
		sink := &recorder{worker: 1}
		pr := track.Project(sink, 0)
		track.ReceiveRTP(h.batches[0], many(1, "K")) // under way
		fanout.Apply([]fanout.Change{pause(pr)})
		other := renumbered(packet(40_000, "d", true), 1, 10)
		track.ReceiveRTP(h.batches[0], []media.Received{other})
		fanout.Apply([]fanout.Change{resume(pr)})
		h.run(t, 1, 1)
		wantBytes(t, sink, "")
		next := renumbered(packet(40_001, "K", true), 1, 10)
		track.ReceiveRTP(h.batches[0], []media.Received{next})
		wantBytes(t, sink, "K")
	})
}

// A burst of a layer that is under way when the layer is chosen must not start the
// projection, for the burst behind it may have gone by without the projection.
func TestChoiceSkipsBurstsFromBefore(t *testing.T) {
	onWorkers(t, func(t *testing.T, track *fanout.Track, h *held, _ func(...int64)) {
		of := func(layer media.Layer, burst []media.Received) []media.Received {
			for i := range burst {
				burst[i].Layer = layer
			}

			return burst
		}
		other, sink := &recorder{worker: 1}, &recorder{worker: 1}
		track.Project(other, 0)
		pr := track.Project(sink, 0)
		pr.Choose(0)
		track.ReceiveRTP(h.batches[0], []media.Received{packet(1, "K", true)})
		track.ReceiveRTP(h.batches[0], of(2, []media.Received{packet(1, "x", true)}))
		wantBytes(t, sink, "K")
		track.ReceiveRTP(h.batches[0], of(2, many(2, "K"))) // under way to the other
		pr.Choose(2)
		h.run(t, 1, 1)
		if _, bytes := other.got(); len(bytes) != 33 {
			t.Fatalf("the other projection got %q", bytes)
		}
		wantBytes(t, sink, "K")
		track.ReceiveRTP(h.batches[0], of(2, []media.Received{packet(50, "K", true)}))
		wantBytes(t, sink, "KK")
	})
}

// Hazard 6: a wish for a keyframe that is made while a keyframe is walked, after the
// wisher's turn, is not taken for answered when the last shard is done.
func TestWishBetweenTwoShards(t *testing.T) {
	for name, test := range map[string]struct {
		wish   func(*fanout.Track, *fanout.Projection)
		repeat bool
	}{
		"none":         {func(*fanout.Track, *fanout.Projection) {}, false},
		"a PLI":        {func(_ *fanout.Track, pr *fanout.Projection) { pr.ReceivePLI() }, true},
		"a projection": {func(track *fanout.Track, _ *fanout.Projection) { track.Project(&recorder{}, 0) }, true},
		"a resume": {func(_ *fanout.Track, pr *fanout.Projection) {
			fanout.Apply([]fanout.Change{pause(pr)})
			fanout.Apply([]fanout.Change{resume(pr)})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			onWorkers(t, func(t *testing.T, track *fanout.Track, h *held, wantRequests func(...int64)) {
				here, there := &recorder{worker: 0}, &recorder{worker: 1}
				pr := track.Project(here, 0)
				track.Project(there, 0)
				wantRequests(0)
				track.ReceiveRTP(h.batches[0], many(1, "K"))
				if n, _ := here.got(); len(n) != 32 {
					t.Fatalf("%d packets walked here, want 32", len(n))
				}
				time.Sleep(50 * time.Millisecond)
				test.wish(track, pr)
				h.run(t, 1, 1)
				wantRequests() // the one in flight serves
				time.Sleep(600 * time.Millisecond)
				if test.repeat {
					wantRequests(500)
				} else {
					wantRequests()
				}
			})
		})
	}
}

// After a new run of the sender the request goes out when the last shard has been
// walked, and only if somebody waits then.
func TestRestartOverTwoShards(t *testing.T) {
	for payload, want := range map[string][]int64{"K": nil, "d": {1000}} {
		t.Run(payload, func(t *testing.T) {
			onWorkers(t, func(t *testing.T, track *fanout.Track, h *held, wantRequests func(...int64)) {
				track.Project(&recorder{worker: 0}, 0)
				track.Project(&recorder{worker: 1}, 0)
				track.ReceiveRTP(h.batches[0], []media.Received{packet(1, "K", true)})
				wantRequests(0)
				time.Sleep(time.Second)
				burst := many(500, payload)
				for i := range burst {
					burst[i] = renumbered(burst[i], 1, 10)
				}
				track.ReceiveRTP(h.batches[0], burst)
				wantRequests()
				h.run(t, 1, 1)
				wantRequests(want...)
			})
		})
	}
}
