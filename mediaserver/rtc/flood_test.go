package rtc

import (
	"errors"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// rawTrack lets a client send packets of any SSRC.
type rawTrack struct {
	*webrtc.TrackLocalStaticRTP
	bound chan webrtc.TrackLocalContext
}

func (r *rawTrack) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	r.bound <- c

	return c.CodecParameters()[0], nil
}

func (r *rawTrack) Unbind(webrtc.TrackLocalContext) error { return nil }

// connectRaw gives a connected client and what sends its video packets with any SSRC.
func connectRaw(t *testing.T, engine *Engine) (c *connection, ssrc uint32, send func(ssrc uint32, sequenceNumber uint16)) {
	t.Helper()
	c = newConnection(t, engine, true)
	offer, err := c.peer.Offer()
	if err != nil {
		t.Fatal(err)
	}
	c.client.prepare(t, offer)
	raw := &rawTrack{c.client.video, make(chan webrtc.TrackLocalContext, 1)}
	if err := c.client.senders[1].ReplaceTrack(raw); err != nil {
		t.Fatal(err)
	}
	if err := c.peer.Answer(c.client.finish(t)); err != nil {
		t.Fatal(err)
	}
	within(t, "connection", c.connected)
	within(t, "connection at the client", c.client.connected)
	bound := within(t, "bound track", raw.bound)
	send = func(ssrc uint32, sequenceNumber uint16) {
		header := &rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: sequenceNumber, SSRC: ssrc}
		_, _ = bound.WriteStream().WriteRTP(header, []byte{1, 2, 3})
	}

	return c, uint32(bound.SSRC()), send
}

// Packets of SSRCs that the answer does not declare reach nobody, and the declared ones are none the worse for them.
func TestUndeclaredSSRCIsIgnored(t *testing.T) {
	c, ssrc, send := connectRaw(t, newEngine(t))
	for i := range uint16(20) {
		send(ssrc+1, 1000+i)
		send(ssrc, i)
		send(0, i)
	}
	until(t, "the declared packets", func() bool { return len(c.video.received()) >= 20 }, func() {})
	for _, packet := range c.video.received() {
		if packet.SSRC != ssrc {
			t.Errorf("packet of SSRC %d, which was not declared", packet.SSRC)
		}
	}
	if len(c.closed) != 0 {
		t.Error("the client was closed")
	}
}

// A client cannot make the server hold a buffer for each SSRC that it makes up; others notice nothing.
func TestSSRCFloodsEndThePeer(t *testing.T) {
	floods := map[string]func(*connection, uint32, func(uint32, uint16)){
		"RTP": func(_ *connection, n uint32, send func(uint32, uint16)) { send(5_000_000+n, 1) },
		"PLI": func(c *connection, n uint32, _ func(uint32, uint16)) {
			_ = c.client.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: 5_000_000 + n}})
		},
		"FIR": func(c *connection, n uint32, _ func(uint32, uint16)) {
			fir := &rtcp.FullIntraRequest{}
			for i := range uint32(100) {
				fir.FIR = append(fir.FIR, rtcp.FIREntry{SSRC: 5_000_000 + 100*n + i})
			}
			_ = c.client.pc.WriteRTCP([]rtcp.Packet{fir})
		},
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			engine := newEngine(t)
			bystander := connect(t, engine, true)
			d, _ := bind(t, bystander, "SENDER")
			c, _, send := connectRaw(t, engine)

			n := uint32(0)
			until(t, "end of the peer", func() bool { return len(c.closed) == 1 }, func() {
				for range 50 {
					flood(c, n, send)
					n++
				}
			})
			if err := <-c.closed; !errors.Is(err, ErrTooManyStreams) {
				t.Errorf("closed with %v", err)
			}
			if err := c.peer.Close(); err != nil {
				t.Error(err)
			}
			if got := engine.Stats().StreamFloods; got != 1 {
				t.Errorf("%d floods counted", got)
			}
			if s, _ := readStream(t, bystander.client, d, 1); s.track.StreamID() != "SENDER" {
				t.Errorf("stream %q", s.track.StreamID())
			}
		})
	}
}

// Feedback about streams that are gone is no flood, however many there were, and closed streams are no longer counted.
func TestOwnStreamsAreNoFlood(t *testing.T) {
	s := newStreams()
	for ssrc := range uint32(10 * maxStrangeStreams) {
		s.expect(ssrc)
		s.open(2, ssrc)
		if err := s.open(1, 1_000_000+ssrc).Close(); err != nil {
			t.Fatal(err)
		}
	}
	for ssrc := range uint32(maxStrangeStreams) {
		s.open(1, 2_000_000+ssrc)
	}
	if len(s.flooded) != 0 {
		t.Fatal("a flood was seen")
	}
	beyond := s.open(1, 3_000_000)
	if _, err := beyond.Write(make([]byte, 100)); err == nil {
		t.Error("a stream beyond the bound holds packets")
	}
	if len(s.flooded) != 1 {
		t.Error("no flood was seen")
	}
}

// A storm of feedback about a stream of ours costs its sender nothing but calls that do not block, and the peer stays.
func TestFeedbackStorm(t *testing.T) {
	c := connect(t, newEngine(t), true)
	d, f := bind(t, c, "SENDER")
	go func() { // The fan-out takes them at once; so does this.
		for range f.nacks {
		}
	}()
	go func() {
		for range f.plis {
		}
	}()
	all := &rtcp.TransportLayerNack{MediaSSRC: d.SSRC()}
	for i := range uint16(250) {
		all.Nacks = append(all.Nacks, rtcp.NackPair{PacketID: i * 17, LostPackets: 0xffff})
	}
	for range 500 {
		_ = c.client.pc.WriteRTCP([]rtcp.Packet{all, &rtcp.PictureLossIndication{MediaSSRC: d.SSRC()}})
	}
	if s, _ := readStream(t, c.client, d, 1); s.track.StreamID() != "SENDER" {
		t.Errorf("stream %q", s.track.StreamID())
	}
	if len(c.closed) != 0 {
		t.Error("the client was closed")
	}
	if err := c.peer.Close(); err != nil {
		t.Error(err)
	}
	close(f.nacks)
	close(f.plis)
}

func TestMetrics(t *testing.T) {
	socket, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	engine, err := New(Config{Socket: socket, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close() //nolint:errcheck // Nothing was sent.
	engine.counters.malformedRTP.Add(3)
	families, err := registry.Gather()
	if err != nil || len(families) != 5 {
		t.Fatalf("%d metrics, %v", len(families), err)
	}
	for _, family := range families {
		want := 0.0
		if family.GetName() == "nagi_rtc_malformed_rtp_packets_total" {
			want = 3
		}
		if got := family.GetMetric()[0].GetCounter().GetValue(); got != want {
			t.Errorf("%s is %v, want %v", family.GetName(), got, want)
		}
	}
}
