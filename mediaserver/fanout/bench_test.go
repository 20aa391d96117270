package fanout_test

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// discard is a receiver that costs nothing, so that only this layer is measured.
type discard struct{ worker int }

func (d discard) Worker() int { return d.worker }

func (discard) WriteRTP(*udp.Batch, *media.Outgoing) error { return nil }

func (discard) ResendRTP(*udp.Batch, *media.Outgoing) error { return nil }

func (discard) WritePadding(*udp.Batch, *media.Outgoing, uint8) error { return nil }

func (discard) WriteSenderReport(*udp.Batch, uint64, uint32, uint32, uint32) error { return nil }

func (discard) SSRC() uint32 { return 1 }

// frames sends one frame per call, as libwebrtc cuts it: the first half of its packets
// one byte smaller than the others.
func frames(track *fanout.Track, packets int) (send func(*udp.Batch)) {
	burst := make([]media.Received, packets)
	for i := range burst {
		burst[i] = packet(0, "K"+string(make([]byte, 1100+2*i/packets)), i == packets-1)
	}
	n, timestamp := uint64(numbers.Apart), uint32(0)

	return func(batch *udp.Batch) {
		timestamp += 3000
		for i := range burst {
			burst[i].SequenceNumber, burst[i].Timestamp = n, timestamp
			n++
		}
		track.ReceiveRTP(batch, burst)
	}
}

// runners are workers that run jobs at once, each on a goroutine of its own.
type runners struct {
	jobs    []chan udp.Job
	posted  sync.WaitGroup
	running sync.WaitGroup
}

func startRunners(t testing.TB, workers int, send func([]byte, *udp.Destination)) *runners {
	r := &runners{}
	for i := range workers {
		jobs, batch := make(chan udp.Job, 1024), udp.NewBatch(i, send)
		r.jobs = append(r.jobs, jobs)
		r.running.Go(func() {
			for job := range jobs {
				job.Run(batch)
				batch.Flush()
				r.posted.Done()
			}
		})
	}
	t.Cleanup(func() {
		for _, jobs := range r.jobs {
			close(jobs)
		}
		r.running.Wait()
	})

	return r
}

func (r *runners) Workers() int { return len(r.jobs) }

func (r *runners) Post(worker int, job udp.Job) {
	r.posted.Add(1)
	r.jobs[worker] <- job
}

func (r *runners) Quiesce() { r.posted.Wait() }

// warm is a track whose memory is all there, and sends frames on it; workers is 1
// or 2, and with 2 the receivers are spread over both.
func warm(t testing.TB, receivers, packets, workers int) (send func(), r *runners) {
	r = startRunners(t, workers, nil)
	track := fanout.NewTrack(fanout.Config{
		Kind: media.Video, Inspect: inspect, RequestKeyframe: func(media.Layers) {}, HandOver: 32, Workers: r,
	})
	t.Cleanup(track.Close)
	for i := range receivers {
		track.Project(discard{i % workers}, 0)
	}
	frame, batch := frames(track, packets), udp.NewBatch(0, nil)
	send = func() { frame(batch) }
	for range 2000/packets + 100 {
		send()
		r.Quiesce()
	}

	return send, r
}

func TestNoAllocationPerPacket(t *testing.T) {
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprintf("workers=%d", workers), func(t *testing.T) {
			send, r := warm(t, 10, 10, workers)
			n := testing.AllocsPerRun(1000, func() {
				send()
				r.Quiesce()
			})
			if n != 0 {
				t.Errorf("%v allocations per burst, want 0", n)
			}
		})
	}
}

// With two workers the time is that until both are done, so below half of one
// worker's at best.
func BenchmarkTrackFanout(b *testing.B) {
	const receivers = 50
	for _, workers := range []int{1, 2} {
		for _, packets := range []int{1, 4, 20} {
			b.Run(fmt.Sprintf("workers=%d/packets=%d", workers, packets), func(b *testing.B) {
				send, r := warm(b, receivers, packets, workers)
				b.ReportAllocs()
				for b.Loop() {
					send()
					r.Quiesce()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*packets*receivers), "ns/packet")
			})
		}
	}
}

// BenchmarkPadding sends libwebrtc's frames through a real socket to a receiver that
// reads nothing, with and without making their sizes equal.
func BenchmarkPadding(b *testing.B) {
	for _, off := range []bool{false, true} {
		for _, packets := range []int{4, 20} {
			b.Run(fmt.Sprintf("off=%v/packets=%d", off, packets), func(b *testing.B) {
				socket := serve(b, 1, nil)
				track := fanout.NewTrack(fanout.Config{Kind: media.Video, Inspect: inspect, HandOver: 32, Workers: socket,
					NoPadding: off})
				for range 50 {
					deaf, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { _ = deaf.Close() })
					track.Project(&wire{to: socket.Destination(deaf.LocalAddr().(*net.UDPAddr).AddrPort())}, 0)
				}
				turn, done := frames(track, packets), make(chan struct{}, 1)
				run := job(func(batch *udp.Batch) {
					turn(batch)
					done <- struct{}{}
				})
				before := socket.Stats()
				for b.Loop() {
					socket.Post(0, run)
					<-done
				}
				after := socket.Stats()
				sent := float64(after.DatagramsSent - before.DatagramsSent)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*packets*50), "ns/packet")
				b.ReportMetric(sent/float64(after.MessagesSent-before.MessagesSent), "packets/message")
			})
		}
	}
}
