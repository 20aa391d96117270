package rtc

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// inTurn is a job of a worker's.
type inTurn func(batch *udp.Batch)

func (f inTurn) Run(batch *udp.Batch) { f(batch) }

// Once a pause is acknowledged, the last numbers of both streams are those that are told, however much is asked for and
// however much padding is sent at that moment; and a client never gets a later one.
func TestProofCoversRetransmissions(t *testing.T) {
	engine := newEngine(t)
	c := newConnection(t, engine, false)
	c.client = newClientWith(t, nil, func(media *webrtc.MediaEngine) { timing(t, media) }, false, false)
	d, err := c.peer.AddDownlink("SENDER", vp8)
	must(t, err)
	track := fanout.NewTrack(fanout.Config{Kind: media.Video, Inspect: codecs.VP8.Inspect, Workers: engine.socket,
		RequestKeyframe: func(media.Layers) {}})
	t.Cleanup(track.Close)
	projection := track.Project(d, 0)
	d.Attach(boundProjection{projection})
	if _, _, sent := d.Retransmissions(); sent {
		t.Error("something is said to have left before anything could")
	}
	negotiate(t, c.peer, c.client)
	within(t, "connection", c.connected)

	// The reader's turns: a keyframe, packets asked for again, padding.
	number := uint64(numbers.Apart)
	turn := inTurn(func(batch *udp.Batch) {
		number++
		track.ReceiveRTP(batch, []media.Received{{SequenceNumber: number, SSRC: 1, Timestamp: uint32(number) * 3000,
			Marker: true, Payload: []byte{0x10, 0, 0, byte(number)}}})
		if last, ok := projection.LastSequenceNumber(); ok {
			projection.ReceiveNACK(batch, []uint16{last, last - 1})
		}
		projection.Pad(batch, 255)
	})
	finished := func() {
		done := make(chan struct{})
		engine.socket.Post(d.Worker(), inTurn(func(*udp.Batch) { close(done) }))
		<-done
	}
	var highest atomic.Uint32 // of the retransmissions that have come to the client, and one more
	reading := make(chan struct{})
	for d.SSRC() == 0 { // DTLS is up a moment before.
		finished()
	}
	engine.socket.Post(d.Worker(), turn)
	s := within(t, "stream at the client", c.client.streams)
	go func() {
		defer close(reading)
		for {
			_, attributes, err := s.track.ReadRTP()
			if err != nil {
				return
			}
			if again, is := attributes.Get(webrtc.AttributeRtxSequenceNumber).(uint16); is {
				highest.Store(max(highest.Load(), 1+uint32(again)))
			}
		}
	}()
	t.Cleanup(func() { <-reading })
	t.Cleanup(func() { _ = c.client.pc.Close() })

	var before uint16
	for round := range 20 {
		for range 20 {
			engine.socket.Post(d.Worker(), turn)
		}
		fanout.Apply([]fanout.Change{{Projection: projection, Withhold: forwarding.Paused}})
		ssrc, told, _ := d.Retransmissions()
		last, _ := projection.LastSequenceNumber()
		for range 5 {
			engine.socket.Post(d.Worker(), turn)
		}
		finished()
		_, again, sent := d.Retransmissions()
		if now, _ := projection.LastSequenceNumber(); now != last || again != told {
			t.Errorf("round %d: numbers %d and %d left after %d and %d were told", round, now, again, last, told)
		}
		if ssrc != d.rtxSSRC || !sent || uint32(told) < highest.Load()-min(1, highest.Load()) {
			t.Errorf("round %d: %d of SSRC %d is told, %d of %d has come", round, told, ssrc, highest.Load(), d.rtxSSRC)
		}
		if round > 0 && told == before {
			t.Errorf("round %d: nothing was sent again", round)
		}
		before = told
		fanout.Apply([]fanout.Change{{Projection: projection, Release: forwarding.Paused}})
		engine.socket.Post(d.Worker(), turn)
		finished()
	}
	for until := time.Now().Add(patience); highest.Load() == 0; {
		if time.Now().After(until) {
			t.Fatal("the client has got nothing again")
		}
		engine.socket.Post(d.Worker(), turn)
		finished()
	}
}
