package fanout_test

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pion/rtp"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
)

// Apply and Remove wait for the packet that is being written when they are called,
// be it a fresh one or one sent again.
func TestFenceWaitsForThePacketInHand(t *testing.T) {
	for name, test := range map[string]struct {
		write func(*fanout.Track, *fanout.Edge)
		cut   func(*fanout.Edge)
	}{
		"a burst, a pause":    {burst, func(e *fanout.Edge) { fanout.Apply([]fanout.Change{pause(e)}) }},
		"a burst, a removal":  {burst, (*fanout.Edge).Remove},
		"a resend, a pause":   {resend, func(e *fanout.Edge) { fanout.Apply([]fanout.Change{pause(e)}) }},
		"a resend, a removal": {resend, (*fanout.Edge).Remove},
	} {
		t.Run(name, func(t *testing.T) {
			track, sink := newVideo(t, func() {}), &recorder{}
			e := track.AddEdge(sink, 0)
			track.ReceiveRTP([]*rtp.Packet{packet(1, "K", true)})
			sink.gate, sink.entered = make(chan struct{}), make(chan struct{}, 1)
			var writing, cutting sync.WaitGroup
			writing.Go(func() { test.write(track, e) })
			<-sink.entered
			var returned atomic.Bool
			cutting.Go(func() {
				test.cut(e)
				returned.Store(true)
				if sink.count.Load() != 2 {
					t.Error("the fence was passed while a packet was being written")
				}
			})
			for !returned.Load() && !waitsForLock() {
				runtime.Gosched()
			}
			close(sink.gate)
			cutting.Wait()
			writing.Wait()
			if last, ok := e.LastSequenceNumber(); !ok || last != sink.numbers[0] && last != sink.numbers[1] {
				t.Errorf("last number %d of %v", last, sink.numbers)
			}
		})
	}
}

func burst(track *fanout.Track, _ *fanout.Edge) {
	track.ReceiveRTP([]*rtp.Packet{packet(2, "x", true)})
}

func resend(_ *fanout.Track, e *fanout.Edge) {
	last, _ := e.LastSequenceNumber()
	e.ReceiveNACK([]uint16{last})
}

// waitsForLock tells whether some goroutine waits for a lock in this package: the
// condition that a time to wait could only guess at.
func waitsForLock() bool {
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "[sync.Mutex.Lock") && strings.Contains(stack, "mediaserver/fanout.(*") {
			return true
		}
	}
	return false
}

// guarded is a receiver that itself notices each packet written on it while
// nothing may be, from the beginning of the writing to its end.
type guarded struct {
	shut   atomic.Bool
	leaked atomic.Int64
}

func (g *guarded) WriteRTP(uint16, uint32, bool, []byte) error {
	before := g.shut.Load()
	runtime.Gosched() // a write takes its time
	if before || g.shut.Load() {
		g.leaked.Add(1)
	}
	return nil
}

func (*guarded) WriteSenderReport(uint64, uint32, uint32, uint32) error { return nil }

func (*guarded) SSRC() uint32 { return 1 }

// crowd is what acts on a track at the same time.
type crowd struct {
	video, audio *fanout.Track
	bursts       atomic.Int64 // walked
	stop         chan struct{}
}

// TestFenceUnderStress: after Apply has withheld an edge, or Remove has removed it,
// nothing is written on it, whatever the sender, the receivers' feedback and other
// changes do meanwhile.
func TestFenceUnderStress(t *testing.T) {
	const receivers, rounds = 8, 100
	c := &crowd{video: newVideo(t, func() {}), audio: newAudio(t), stop: make(chan struct{})}
	var senders, users sync.WaitGroup
	var audioSinks []*recorder
	for range receivers {
		sink, heard := &guarded{}, &recorder{}
		e := c.video.AddEdge(sink, 0)
		c.audio.AddEdge(heard, 0)
		audioSinks = append(audioSinks, heard)
		users.Go(func() { c.toggle(t, e, sink, rounds) })
		users.Go(func() { // another reason by another goroutine: it may let through less, never more
			for range rounds {
				fanout.Apply([]fanout.Change{{Edge: e, Withhold: forwarding.NoTable}})
				fanout.Apply([]fanout.Change{{Edge: e, Release: forwarding.NoTable}})
			}
		})
		users.Go(func() { c.comeAndGo(t, rounds/10) })
		senders.Go(func() { c.complain(e) })
	}
	spoken := 0
	senders.Go(func() { spoken = c.send() })
	users.Wait()
	close(c.stop)
	senders.Wait()
	for _, heard := range audioSinks { // hazard 23: the pauses of video leave audio alone
		numbers, _ := heard.got()
		wantContiguous(t, numbers)
		if len(numbers) != spoken {
			t.Errorf("%d audio packets of %d", len(numbers), spoken)
		}
	}
}

func (c *crowd) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// send is the sender. It returns how many packets of audio it sent.
func (c *crowd) send() (spoken int) {
	for n := uint16(0); !c.stopped(); n++ {
		payload := "d"
		if n%7 == 0 {
			payload = "K"
		}
		c.video.ReceiveRTP([]*rtp.Packet{packet(2*n, payload, false), packet(2*n+1, "m", n%3 == 0)})
		c.bursts.Add(1)
		if spoken < 20_000 {
			c.audio.ReceiveRTP([]*rtp.Packet{packet(n, "a", false)})
			spoken++
		}
	}
	return spoken
}

// complain is a receiver that asks for packets and keyframes all the time.
func (c *crowd) complain(e *fanout.Edge) {
	for !c.stopped() {
		if last, ok := e.LastSequenceNumber(); ok {
			e.ReceiveNACK([]uint16{last, last - 1, last - uint16(rand.IntN(20))})
		}
		e.ReceivePLI()
		runtime.Gosched()
	}
}

// watch holds that nothing is written while the sender's next two bursts go by, so
// that at least one whole walk falls into that time.
func (c *crowd) watch(t *testing.T, e *fanout.Edge, sink *guarded) {
	sink.shut.Store(true)
	last, _ := e.LastSequenceNumber()
	for until := c.bursts.Load() + 2; c.bursts.Load() < until; {
		e.ReceiveNACK([]uint16{last, last - 1})
		runtime.Gosched()
	}
	if later, _ := e.LastSequenceNumber(); later != last || sink.leaked.Load() != 0 {
		t.Errorf("written after the fence: %d packets, up to number %d instead of %d", sink.leaked.Load(), later, last)
	}
}

func (c *crowd) toggle(t *testing.T, e *fanout.Edge, sink *guarded, rounds int) {
	for range rounds {
		fanout.Apply([]fanout.Change{pause(e)})
		c.watch(t, e, sink)
		sink.shut.Store(false)
		fanout.Apply([]fanout.Change{resume(e)})
		if rand.IntN(4) == 0 {
			fanout.Apply([]fanout.Change{pause(e), resume(e)})
		}
	}
}

func (c *crowd) comeAndGo(t *testing.T, rounds int) {
	for range rounds {
		sink := &guarded{}
		e := c.video.AddEdge(sink, forwarding.Unnegotiated)
		fanout.Apply([]fanout.Change{{Edge: e, Release: forwarding.Unnegotiated}})
		for until := c.bursts.Load() + 2; c.bursts.Load() < until; {
			runtime.Gosched()
		}
		e.Remove()
		c.watch(t, e, sink)
		fanout.Apply([]fanout.Change{resume(e)}) // too late for it
		c.watch(t, e, sink)
	}
}

func wantContiguous(t *testing.T, numbers []uint16) {
	t.Helper()
	for i, n := range numbers {
		if n != numbers[0]+uint16(i) {
			t.Fatalf("number %d missing", numbers[0]+uint16(i))
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
	wantContiguous(t, numbers)
	if len(numbers) != int(a) {
		t.Errorf("%d audio packets of %d", len(numbers), a)
	}
}
