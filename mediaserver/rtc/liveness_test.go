package rtc

import (
	"errors"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// newUnwatchedEngine is one that looks at its peers only when the test does.
func newUnwatchedEngine(t *testing.T) *Engine {
	t.Helper()
	socket, err := udp.Listen("127.0.0.1:0", 1)
	must(t, err)
	engine, err := New(Config{Socket: socket, SilenceTimeout: 1000 * time.Hour, MediaTimeout: 1000 * time.Hour})
	must(t, err)
	t.Cleanup(func() { must(t, engine.Close()) })

	return engine
}

// lookAt lets seconds pass for one peer, with what happens in each of them, and returns in which it counts as gone; 0:
// in none.
func lookAt(p *Peer, seconds int, happens func(second int)) (gone int, err error) {
	now := p.engine.since(time.Now())
	for second := range seconds {
		now += time.Second
		happens(second)
		p.liveness.hear(now) // Checks come all the time.
		if err := p.liveness.look(now, time.Second, defaultSilenceTimeout, defaultMediaTimeout); err != nil {
			return second + 1, err
		}
	}

	return 0, nil
}

// A client whose checks come and nothing else, while 10 s of media go to it, is gone: no sooner, and for that reason.
func TestUnansweredMediaEndsAClient(t *testing.T) {
	c := connect(t, newUnwatchedEngine(t), true)
	d, _ := bind(t, c, "SENDER")
	number := uint16(0)
	media := func(second int) {
		number++
		must(t, write(d, number, 1, true, []byte("media")))
	}
	if gone, err := lookAt(c.peer, 60, media); gone != 10 || !errors.Is(err, ErrMediaUnanswered) {
		t.Errorf("after %d s of media: %v, want 10 s", gone, err)
	}
	// Seconds without media are not counted, nor do they make it forgotten.
	c.peer.liveness.unanswered = 0
	if gone, err := lookAt(c.peer, 60, func(second int) {
		if second%3 == 0 {
			media(second)
		}
	}); gone != 28 || !errors.Is(err, ErrMediaUnanswered) {
		t.Errorf("a second of media each 3 s: gone in second %d with %v, want 28", gone, err)
	}
}

// Whoever has a reason to be silent stays, and so does whoever answers now and then.
func TestSilenceThatIsNoFault(t *testing.T) {
	c := connect(t, newUnwatchedEngine(t), true)
	d, _ := bind(t, c, "SENDER")
	track := fanout.NewTrack(fanout.Config{
		Kind: videoKind, Inspect: codecs.VP8.Inspect, RequestKeyframe: func(media.Layers) {},
	})
	t.Cleanup(track.Close)
	projection := track.Project(d, forwarding.Paused)
	context, ssrc := ofClient(t, c.peer), ssrcOf(c.client.senders[0])
	number := uint16(0)
	next := func() uint16 {
		number++

		return number
	}
	toClient := func() { must(t, write(d, next(), 1, true, []byte("media"))) }
	batch := udp.NewBatch(0, nil)
	rtpFromClient := func() {
		packet := numbered(next())
		packet.SSRC, packet.PayloadType = ssrc, 111
		arrive(c.peer, batch, sealed(t, context, packet))
	}
	rtcpFromClient := func() {
		plain, err := (&rtcp.ReceiverReport{SSRC: 77}).Marshal()
		must(t, err)
		datagram, err := context.EncryptRTCP(nil, plain, nil)
		must(t, err)
		arrive(c.peer, batch, datagram)
	}
	for name, happens := range map[string]func(second int){
		// Nothing goes to it; with a null track nothing comes from it either.
		"alone in the channel, track null": func(int) {},
		"everything paused": func(int) {
			packet := numbered(next())
			packet.Payload = []byte{0x10, 0} // A keyframe.
			track.ReceiveRTP(batch, []media.Received{arrived(packet)})
			must(t, d.WriteSenderReport(batch, 1, 1, 0, 0)) // Goes on during a pause.
		},
		// A browser reports each 5 s at least on what it receives.
		"track null, and gets media": func(second int) {
			toClient()
			if second%5 == 4 {
				rtcpFromClient()
			}
		},
		// Each talks without a voice: a packet of comfort noise now and then.
		"DTX both ways": func(second int) {
			toClient()
			if second%9 == 8 {
				rtpFromClient()
			}
		},
	} {
		c.peer.liveness.sent.Store(false)
		c.peer.liveness.unanswered = 0
		if gone, err := lookAt(c.peer, 120, happens); gone != 0 {
			t.Errorf("%s: gone in second %d: %v", name, gone, err)
		}
		batch.Flush()
	}
	// What was paused is not what would never have gone.
	fanout.Apply([]fanout.Change{{Projection: projection, Release: forwarding.Paused}})
	if gone, err := lookAt(c.peer, 60, func(int) {
		packet := numbered(next())
		packet.Payload = []byte{0x10, 0}
		track.ReceiveRTP(batch, []media.Received{arrived(packet)})
	}); gone == 0 || !errors.Is(err, ErrMediaUnanswered) {
		t.Errorf("resumed: gone in second %d with %v", gone, err)
	}
}

// When the process was held up, what clients sent meanwhile waits to be read: nobody is given up before that.
func TestALateLookEndsNobody(t *testing.T) {
	engine := newUnwatchedEngine(t)
	c := connect(t, engine, true)
	now := time.Now().Add(2000 * time.Hour)
	engine.look(now, 2*engine.lookInterval()+1)
	if len(c.peer.failed) != 0 {
		t.Errorf("given up by a late look: %v", <-c.peer.failed)
	}
	engine.look(now, engine.lookInterval())
	if err := within(t, "OnClosed", c.closed); !errors.Is(err, ErrICEFailed) {
		t.Errorf("closed with %v", err)
	}
}

// A relay that gives each packet a new port lets a client's checks through, for each proves itself, and none of its
// media: what it is sent is in vain, and it is told.
func TestARelayWithAPortForEachPacket(t *testing.T) {
	engine, relay := newRelayed(t, Config{MediaTimeout: time.Second})
	c := connect(t, engine, true)
	d, _ := bind(t, c, "SENDER")
	number := uint16(0)
	both := func() {
		number++
		_ = write(d, number, 1, true, []byte("media"))
		_ = c.client.video.WriteRTP(numbered(number))
	}
	until(t, "media arrives through the relay", func() bool { return len(c.video.received()) > 0 }, both)
	relay.rebindEach()
	until(t, "the client is given up", func() bool { return len(c.closed) > 0 }, both)
	if err := <-c.closed; !errors.Is(err, ErrMediaUnanswered) {
		t.Errorf("closed with %v", err)
	}
}
