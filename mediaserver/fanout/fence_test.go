package fanout_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
)

// Apply waits for the packet that is being written when it is called.
func TestFenceWaitsForTheWalk(t *testing.T) {
	track := newVideo(t, func() {})
	sink := &recorder{gate: make(chan struct{}), entered: make(chan struct{}, 1)}
	e := track.AddEdge(sink, 0)
	var done sync.WaitGroup
	done.Go(func() { track.ReceiveRTP([]*rtp.Packet{packet(1, "K", true)}) })
	<-sink.entered
	applied := make(chan struct{})
	done.Go(func() { fanout.Apply([]fanout.Change{pause(e)}); close(applied) })
	select {
	case <-applied:
		t.Fatal("Apply returned while a packet was being written")
	case <-time.After(20 * time.Millisecond): // it blocks, so no wait proves more
	}
	close(sink.gate)
	<-applied
	done.Wait()
	if sink.count.Load() != 1 {
		t.Error("the packet in hand was lost")
	}
}

// TestFenceUnderStress: after Apply has withheld an edge, nothing is written on it,
// whatever the sender, the receivers' feedback and other Applies do meanwhile.
func TestFenceUnderStress(t *testing.T) {
	const receivers, rounds = 8, 100
	video, audio := newVideo(t, func() {}), newAudio(t)
	stop := make(chan struct{})
	var senders, users sync.WaitGroup
	var audioSinks []*recorder
	for range receivers {
		sink, heard := &recorder{}, &recorder{}
		e := video.AddEdge(sink, 0)
		audio.AddEdge(heard, 0)
		audioSinks = append(audioSinks, heard)
		users.Go(func() { toggle(t, e, sink, rounds) })
		// Another reason by another goroutine: it may let through less, never more.
		users.Go(func() {
			for range rounds {
				fanout.Apply([]fanout.Change{{Edge: e, Withhold: forwarding.NoTable}})
				fanout.Apply([]fanout.Change{{Edge: e, Release: forwarding.NoTable}})
			}
		})
		senders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if last, ok := e.LastSequenceNumber(); ok {
						e.ReceiveNACK([]uint16{last, last - 1, last - uint16(rand.IntN(20))})
					}
					e.ReceivePLI()
				}
			}
		})
	}
	var spoken int
	senders.Go(func() {
		for n := uint16(0); ; n++ {
			select {
			case <-stop:
				return
			default:
				payload := "d"
				if n%7 == 0 {
					payload = "K"
				}
				video.ReceiveRTP([]*rtp.Packet{packet(2*n, payload, false), packet(2*n+1, "m", n%3 == 0)})
				if spoken < 20_000 {
					audio.ReceiveRTP([]*rtp.Packet{packet(n, "a", false)})
					spoken++
				}
			}
		}
	})
	users.Wait()
	close(stop)
	senders.Wait()
	for _, heard := range audioSinks { // hazard 23: the pauses of video leave audio alone
		numbers, _ := heard.got()
		for i, n := range numbers {
			if n != numbers[0]+uint16(i) {
				t.Fatalf("audio number %d missing", numbers[0]+uint16(i))
			}
		}
		if len(numbers) != spoken {
			t.Errorf("%d audio packets of %d", len(numbers), spoken)
		}
	}
}

func toggle(t *testing.T, e *fanout.Edge, sink *recorder, rounds int) {
	for range rounds {
		fanout.Apply([]fanout.Change{pause(e)})
		last, _ := e.LastSequenceNumber()
		count := sink.count.Load()
		fanout.Apply(nil)
		e.ReceiveNACK([]uint16{last, last - 1})
		for range 20 { // chances for something to be written
			runtime.Gosched()
		}
		if later, _ := e.LastSequenceNumber(); later != last || sink.count.Load() != count {
			t.Errorf("written after the fence: %d packets, up to number %d instead of %d", sink.count.Load()-count, later, last)
		}
		fanout.Apply([]fanout.Change{resume(e)})
		if rand.IntN(4) == 0 {
			fanout.Apply([]fanout.Change{pause(e), resume(e)})
		}
	}
}

// A thousand toggles of video: audio has every packet, and each restart of video
// begins with a keyframe and leaves out one number at most.
func TestThousandToggles(t *testing.T) {
	video, audio := newVideo(t, func() {}), newAudio(t)
	sink, heard := &recorder{}, &recorder{}
	e := video.AddEdge(sink, 0)
	audio.AddEdge(heard, 0)
	var v, a uint16
	send := func(payload string, marker bool) {
		video.ReceiveRTP([]*rtp.Packet{packet(v, payload, marker)})
		audio.ReceiveRTP([]*rtp.Packet{packet(a, "a", false)})
		v, a = v+1, a+1
	}
	for i := range 1000 {
		send("K", false)
		send("x", i%2 == 0)
		fanout.Apply([]fanout.Change{pause(e)})
		send("K", false)
		send("-", true)
		fanout.Apply([]fanout.Change{resume(e)})
		send("-", true)
	}
	numbers, bytes := sink.got()
	if len(numbers) != 2000 {
		t.Fatalf("%d video packets, want 2000", len(numbers))
	}
	for i := 2; i < len(numbers); i += 2 {
		step := uint16(1) // after a whole frame
		if i/2%2 == 0 {
			step = 2 // after a half one
		}
		if numbers[i] != numbers[i-1]+step || bytes[i] != 'K' || numbers[i+1] != numbers[i]+1 || bytes[i+1] != 'x' {
			t.Fatalf("restart %d: %d %c after %d", i/2, numbers[i], bytes[i], numbers[i-1])
		}
	}
	numbers, _ = heard.got()
	for i, n := range numbers {
		if n != numbers[0]+uint16(i) {
			t.Fatalf("audio number %d missing", numbers[0]+uint16(i))
		}
	}
	if len(numbers) != int(a) {
		t.Errorf("%d audio packets of %d", len(numbers), a)
	}
}
