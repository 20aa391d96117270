package rtc

import (
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
func connectRaw(
	t *testing.T, engine *Engine,
) (c *connection, ssrc uint32, send func(ssrc uint32, sequenceNumber uint16)) {
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

// A client cannot make the server remember the SSRCs that it makes up; others notice nothing, nor its own streams.
func TestSSRCFloodsLeaveNoTrace(t *testing.T) {
	engine := newEngine(t)
	bystander := connect(t, engine, true)
	d, _ := bind(t, bystander, "SENDER")
	c, ssrc, send := connectRaw(t, engine)
	malformed, undeclared := engine.Stats().MalformedRTCP, engine.Stats().UndeclaredRTP

	n := uint32(0)
	until(t, "floods of RTP and RTCP dropped", func() bool {
		stats := engine.Stats()

		return stats.UndeclaredRTP-undeclared > 1000 && stats.MalformedRTCP-malformed > 1000
	}, func() {
		for range 50 {
			n++
			send(5_000_000+n, 1)
			_ = c.client.pc.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 5_000_000 + n}})
			_ = c.client.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 5_000_000 + n}})
		}
	})
	c.peer.inbound.mu.Lock()
	if got := len(c.peer.inbound.reporters); got > maxReporters {
		t.Errorf("%d SSRCs of RTCP are remembered, at most %d may be", got, maxReporters)
	}
	c.peer.inbound.mu.Unlock()
	number := uint16(0)
	until(t, "the declared packets", func() bool { return len(c.video.received()) >= 20 }, func() {
		number++
		send(ssrc, number)
	})
	if len(c.closed) != 0 {
		t.Error("the client was closed")
	}
	if s, _ := readStream(t, bystander.client, d, 1); s.track.StreamID() != "SENDER" {
		t.Errorf("stream %q", s.track.StreamID())
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
	socket, err := udp.Listen("127.0.0.1:0", 1)
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
	if err != nil || len(families) != 15 {
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
