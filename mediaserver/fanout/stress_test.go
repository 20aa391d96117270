package fanout_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// receiver is a receiver's own socket, which sees what really left.
type receiver struct {
	destination *udp.Destination
	limit       atomic.Uint32 // 1<<16 | the number that none may be beyond; 0: none
	silent      atomic.Bool   // none may come at all, sent again neither
	leaked      atomic.Int64
	marks       chan byte
}

func newReceiver(t *testing.T, socket *udp.Socket) *receiver {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{destination: socket.Destination(conn.LocalAddr().(*net.UDPAddr).AddrPort()), marks: make(chan byte, 1)}
	var reading sync.WaitGroup
	reading.Go(func() { r.read(conn) })
	t.Cleanup(func() {
		_ = conn.Close()
		reading.Wait()
	})

	return r
}

func (r *receiver) read(conn *net.UDPConn) {
	datagram := make([]byte, 2*udp.MaxDatagram)
	for {
		n, err := conn.Read(datagram)
		if err != nil {
			return
		}
		if n == 1 {
			select {
			case r.marks <- datagram[0]:
			default:
			}

			continue
		}
		number, limit := binary.BigEndian.Uint16(datagram[2:]), r.limit.Load()
		if r.silent.Load() || limit != 0 && int16(number-uint16(limit)) > 0 {
			r.leaked.Add(1)
		}
	}
}

// crowd is what acts on tracks at the same time: senders, each with its own
// socket, so that both readers may be at work, and receivers on both workers.
type crowd struct {
	socket  *udp.Socket
	senders []*sender
	stop    chan struct{}
}

type sender struct {
	video, audio *fanout.Track
	numbers      [media.MaxLayers]uint64
	spoken       uint64
	bursts       atomic.Int64 // walked, as far as this worker walks them
}

func startCrowd(t *testing.T, senders int) *crowd {
	c := &crowd{stop: make(chan struct{})}
	serving := make(chan struct{})
	c.socket = serve(t, 2, func(batch *udp.Batch, burst []udp.Datagram) {
		<-serving
		for _, d := range burst {
			c.senders[d.Payload[0]].turn(batch)
		}
	})
	for range senders {
		config := fanout.Config{Kind: media.Video, Inspect: inspect, RequestKeyframe: func(media.Layers) {}, HandOver: 32,
			Workers: c.socket}
		s := &sender{video: fanout.NewTrack(config),
			audio: fanout.NewTrack(fanout.Config{Kind: media.Audio, Inspect: inspectAudio, HandOver: 32, Workers: c.socket})}
		t.Cleanup(s.video.Close)
		c.senders = append(c.senders, s)
	}
	close(serving)

	return c
}

// turn is a frame of video, small or large, in each layer, and audio; on the reader's
// goroutine. The highest layer comes and goes.
func (s *sender) turn(batch *udp.Batch) {
	for layer := range media.Layer(media.MaxLayers) {
		if layer == 2 && time.Now().UnixMilli()/700%2 == 1 {
			continue
		}
		s.video.ReceiveRTP(batch, s.frame(layer))
	}
	s.audio.ReceiveRTP(batch, []media.Received{packet(s.spoken, "a", false)})
	s.spoken++
	s.bursts.Add(1)
}

func (s *sender) frame(layer media.Layer) []media.Received {
	number := &s.numbers[layer]
	n := 1 + int(*number%40)
	frame := make([]media.Received, n)
	for i := range frame {
		frame[i] = packet(*number, "d", i == n-1 && n%3 != 0)
		frame[i].Layer = layer
		*number++
	}
	if n%2 == 0 {
		frame[0].Payload[0] = 'K'
	}

	return frame
}

func (c *crowd) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// send has the sender send until the end, a few datagrams ahead of what is walked.
func (c *crowd) send(t *testing.T, i int) {
	address := c.socket.Addr()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(address))
	if err != nil {
		t.Error(err)

		return
	}
	defer func() { _ = conn.Close() }()
	sent := int64(0)
	for !c.stopped() {
		if sent-c.senders[i].bursts.Load() > 2 {
			runtime.Gosched()

			continue
		}
		if _, err := conn.Write([]byte{byte(i)}); err != nil {
			t.Error(err)

			return
		}
		sent++
	}
	for c.senders[i].bursts.Load() < sent {
		runtime.Gosched()
	}
}

// finish returns when the jobs posted so far are done.
func (c *crowd) finish() {
	var workers sync.WaitGroup
	for i := range c.socket.Workers() {
		workers.Add(1)
		c.socket.Post(i, job(func(*udp.Batch) { workers.Done() }))
	}
	workers.Wait()
}

// settle returns when the jobs posted so far are done and the receiver has read all
// that was sent to it before.
func (c *crowd) settle(t *testing.T, r *receiver, mark byte) {
	c.finish()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if err := c.socket.Send([]byte{mark}, r.destination); err != nil {
			t.Error(err)
		}
		select {
		case got := <-r.marks:
			if got == mark {
				return
			}
		case <-time.After(100 * time.Millisecond): // the mark was lost to a full buffer
		}
	}
	t.Error("the receiver reads nothing any more")
}

// nack asks for packets on a worker, and waits until it was answered.
func (c *crowd) nack(worker int, pr *fanout.Projection, numbers ...uint16) {
	done := make(chan struct{})
	c.socket.Post(worker, job(func(batch *udp.Batch) {
		pr.ReceiveNACK(batch, numbers)
		close(done)
	}))
	<-done
}

// complain is a receiver that asks for packets, keyframes and other layers all the time.
func (c *crowd) complain(pr *fanout.Projection) {
	for !c.stopped() {
		if last, ok := pr.LastSequenceNumber(); ok {
			c.nack(rand.IntN(2), pr, last, last-1, last-uint16(rand.IntN(20)))
		}
		pr.ReceivePLI()
		pr.Choose(media.Layer(rand.IntN(media.MaxLayers)))
		runtime.Gosched()
	}
}

// watch holds that nothing leaves for the receiver, for the first time or again, while the
// sender's next two bursts go by, so that at least one whole walk falls into that time.
func (c *crowd) watch(t *testing.T, s *sender, pr *fanout.Projection, r *receiver, mark byte) {
	last, some := pr.LastSequenceNumber()
	if some {
		r.limit.Store(1<<16 | uint32(last))
	}
	c.settle(t, r, mark|0x80) // What left before the fence has been read.
	r.silent.Store(true)
	for until := s.bursts.Load() + 2; s.bursts.Load() < until; {
		c.nack(rand.IntN(2), pr, last, last-1)
	}
	c.settle(t, r, mark)
	r.silent.Store(false)
	later, someLater := pr.LastSequenceNumber()
	if later != last || some != someLater || r.leaked.Load() != 0 {
		t.Errorf("%d packets left after the fence, up to number %d instead of %d", r.leaked.Load(), later, last)
	}
}

func (c *crowd) toggle(t *testing.T, s *sender, pr *fanout.Projection, r *receiver, rounds int) {
	for i := range rounds {
		fanout.Apply([]fanout.Change{pause(pr)})
		c.watch(t, s, pr, r, byte(i))
		r.limit.Store(0)
		fanout.Apply([]fanout.Change{resume(pr)})
		if rand.IntN(4) == 0 {
			fanout.Apply([]fanout.Change{pause(pr), resume(pr)})
		}
	}
}

func (c *crowd) comeAndGo(t *testing.T, s *sender, worker, rounds int) {
	r := newReceiver(t, c.socket)
	for i := range rounds {
		pr := s.video.Project(&wire{worker: worker, ssrc: 1, to: r.destination}, forwarding.Unnegotiated)
		fanout.Apply([]fanout.Change{{Projection: pr, Release: forwarding.Unnegotiated}})
		for until := s.bursts.Load() + 2; s.bursts.Load() < until; {
			runtime.Gosched()
		}
		pr.Remove()
		c.watch(t, s, pr, r, byte(2*i))
		fanout.Apply([]fanout.Change{resume(pr)}) // too late for it
		c.watch(t, s, pr, r, byte(2*i+1))
		r.limit.Store(0)
	}
}

// TestFenceUnderStress: after Apply has withheld a projection, or Remove has removed
// it, no packet beyond its last number reaches the receiver, whatever senders, workers,
// the receivers' feedback and other changes do meanwhile.
func TestFenceUnderStress(t *testing.T) {
	const receivers, rounds = 4, 80
	c := startCrowd(t, 3)
	var acting, users sync.WaitGroup
	var heard [][]*recorder
	for _, s := range c.senders {
		var sinks []*recorder
		for i := range receivers {
			r, ears := newReceiver(t, c.socket), &recorder{worker: i % 2}
			pr := s.video.Project(&wire{worker: i % 2, ssrc: 1, to: r.destination}, 0)
			s.audio.Project(ears, 0)
			sinks = append(sinks, ears)
			users.Go(func() { c.toggle(t, s, pr, r, rounds) })
			users.Go(func() { // another reason by another goroutine: it may let through less, never more
				for range rounds {
					fanout.Apply([]fanout.Change{{Projection: pr, Withhold: forwarding.NoTable}})
					fanout.Apply([]fanout.Change{{Projection: pr, Release: forwarding.NoTable}})
				}
			})
			acting.Go(func() { c.complain(pr) })
		}
		heard = append(heard, sinks)
		for i := range 4 { // undisturbed, so that large bursts are handed over
			s.video.Project(discard{i % 2}, 0)
		}
		users.Go(func() { c.comeAndGo(t, s, 0, rounds/4) })
		users.Go(func() { c.comeAndGo(t, s, 1, rounds/4) })
	}
	for i := range c.senders {
		acting.Go(func() { c.send(t, i) })
	}
	users.Wait()
	close(c.stop)
	acting.Wait()
	c.finish()
	for i, s := range c.senders {
		if s.video.Counters().HandedOver.Load() == 0 {
			t.Error("no burst was handed over")
		}
		// Hazard 23: the pauses of video leave audio alone.
		for _, ears := range heard[i] {
			numbers, _ := ears.got()
			wantContiguous(t, numbers)
			if len(numbers) != int(s.bursts.Load()) {
				t.Errorf("%d audio packets of %d", len(numbers), s.bursts.Load())
			}
		}
	}
}
