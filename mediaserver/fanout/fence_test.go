package fanout_test

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// job is work for a worker.
type job func(batch *udp.Batch)

func (j job) Run(batch *udp.Batch) { j(batch) }

// serve is a socket whose workers run until the test ends. It hands what arrives to
// receive.
func serve(t testing.TB, workers int, receive func(*udp.Batch, []udp.Datagram)) *udp.Socket {
	socket, err := udp.Listen("127.0.0.1:0", workers)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { socket.Serve(receive) })
	t.Cleanup(func() {
		_ = socket.Close()
		serving.Wait()
	})

	return socket
}

// inHand is a track with a receiver, and a worker that has written a packet for it
// into a batch that is not with the kernel yet.
type inHand struct {
	track      *fanout.Track
	projection *fanout.Projection
	socket     *udp.Socket
	requests   chan struct{}
	release    func() // lets the worker go on
}

func startInHand(t *testing.T, write func(*udp.Batch, *fanout.Track, *fanout.Projection)) *inHand {
	h := &inHand{socket: serve(t, 1, nil), requests: make(chan struct{}, 100)}
	h.track = fanout.NewTrack(fanout.Config{
		Kind: media.Video, Inspect: inspect,
		RequestKeyframe: func(media.Layers) { h.requests <- struct{}{} }, HandOver: 32, Workers: h.socket,
	})
	t.Cleanup(h.track.Close)
	h.projection = h.track.Project(&wire{ssrc: 1, to: newReceiver(t, h.socket).destination}, 0)
	<-h.requests
	h.do(func(batch *udp.Batch) { h.track.ReceiveRTP(batch, []media.Received{packet(1, "K", true)}) })

	written, gate := make(chan struct{}), make(chan struct{})
	h.release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(h.release) // before the socket's, which waits for the worker
	h.socket.Post(0, job(func(batch *udp.Batch) {
		write(batch, h.track, h.projection)
		close(written)
		<-gate
	}))
	<-written

	return h
}

// do has the worker run a job and waits until its batch is with the kernel.
func (h *inHand) do(run job) {
	h.socket.Post(0, run)
	done := make(chan struct{})
	h.socket.Post(0, job(func(*udp.Batch) { close(done) }))
	<-done
}

func burst(batch *udp.Batch, track *fanout.Track, _ *fanout.Projection) {
	track.ReceiveRTP(batch, []media.Received{packet(2, "x", true)})
}

func resend(batch *udp.Batch, _ *fanout.Track, pr *fanout.Projection) {
	last, _ := pr.LastSequenceNumber()
	pr.ReceiveNACK(batch, []uint16{last})
}

func pad(batch *udp.Batch, _ *fanout.Track, pr *fanout.Projection) { pr.Pad(batch, 255) }

// Apply and Remove wait until the packet that was written before the cut, be it a
// fresh one, one sent again or padding, is with the kernel.
func TestFenceWaitsForThePacketInHand(t *testing.T) {
	for name, test := range map[string]struct {
		write func(*udp.Batch, *fanout.Track, *fanout.Projection)
		cut   func(*fanout.Projection)
	}{
		"a burst, a pause":    {burst, func(pr *fanout.Projection) { fanout.Apply([]fanout.Change{pause(pr)}) }},
		"a burst, a removal":  {burst, (*fanout.Projection).Remove},
		"a resend, a pause":   {resend, func(pr *fanout.Projection) { fanout.Apply([]fanout.Change{pause(pr)}) }},
		"a resend, a removal": {resend, (*fanout.Projection).Remove},
		"padding, a pause":    {pad, func(pr *fanout.Projection) { fanout.Apply([]fanout.Change{pause(pr)}) }},
		"padding, a removal":  {pad, (*fanout.Projection).Remove},
	} {
		t.Run(name, func(t *testing.T) {
			h := startInHand(t, test.write)
			var cutting sync.WaitGroup
			var returned atomic.Bool
			cutting.Go(func() {
				test.cut(h.projection)
				returned.Store(true)
				if sent := h.socket.Stats().DatagramsSent; sent != 2 {
					t.Errorf("the fence was passed with %d packets of 2 handed over", sent)
				}
			})
			for !returned.Load() && !waitsForFlush() {
				runtime.Gosched()
			}
			before, _ := h.projection.LastSequenceNumber()
			h.release()
			cutting.Wait()
			h.do(func(batch *udp.Batch) {
				h.track.ReceiveRTP(batch, []media.Received{packet(3, "K", true)})
				h.projection.ReceiveNACK(batch, []uint16{before, before - 1, before + 1})
				h.projection.Pad(batch, 1000)
			})
			if last, ok := h.projection.LastSequenceNumber(); !ok || last != before || h.socket.Stats().DatagramsSent != 2 {
				t.Errorf("%d packets sent, up to number %d, after the fence at %d", h.socket.Stats().DatagramsSent, last, before)
			}
		})
	}
}

// Hazard 5: a resume waits for nobody's batch, and beside a pause that does, its
// request for a keyframe goes out first.
func TestReleaseWaitsForNothing(t *testing.T) {
	h := startInHand(t, burst)
	other := h.track.Project(&wire{ssrc: 2, to: newReceiver(t, h.socket).destination}, 1)
	fanout.Apply([]fanout.Change{resume(other)})
	<-h.requests
	var applying sync.WaitGroup
	third := h.track.Project(&wire{ssrc: 3, to: newReceiver(t, h.socket).destination}, 1)
	var returned atomic.Bool
	applying.Go(func() {
		fanout.Apply([]fanout.Change{pause(h.projection), resume(third)})
		returned.Store(true)
	})
	for h.track.Counters().KeyframeRequestsCoalesced.Load() == 0 {
		runtime.Gosched()
	}
	if returned.Load() {
		t.Error("the fence was passed with a batch unflushed")
	}
	h.release()
	applying.Wait()
}

// waitsForFlush tells whether some goroutine waits for a batch: the condition that a
// time to wait could only guess at.
func waitsForFlush() bool {
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "[sync.Cond.Wait") && strings.Contains(stack, "mediaserver/udp.(*Socket).Quiesce") {
			return true
		}
	}

	return false
}

// A thousand toggles of video: audio has every packet, and each restart of video
// begins with a keyframe and leaves out one number at most.
func TestThousandToggles(t *testing.T) {
	video, audio, b := newVideo(t, func() {}), newAudio(t), batch()
	sink, heard := &recorder{}, &recorder{}
	pr := video.Project(sink, 0)
	audio.Project(heard, 0)
	var v, a uint64
	send := func(payload string, marker bool) {
		video.ReceiveRTP(b, []media.Received{packet(v, payload, marker)})
		audio.ReceiveRTP(b, []media.Received{packet(a, "a", false)})
		v, a = v+1, a+1
	}
	for i := range 1000 {
		send("K", false)
		send("x", i%2 == 0)
		fanout.Apply([]fanout.Change{pause(pr)})
		send("K", false)
		send("-", true)
		fanout.Apply([]fanout.Change{resume(pr)})
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
