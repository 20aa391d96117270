package rtc

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

var encodings = []Encoding{{RID: "r0"}, {RID: "r1"}, {RID: "r2", Paused: true}}

// simulcastConnection is a client that sends three encodings of its video, and no audio.
type simulcastConnection struct {
	*connection
	tracks []*webrtc.TrackLocalStaticRTP
	sender *webrtc.RTPSender
}

// newSimulcast makes a peer that is to get three encodings, and a client that knows how; nothing is negotiated yet.
func newSimulcast(t testing.TB, engine *Engine) *simulcastConnection {
	t.Helper()
	c := &simulcastConnection{connection: &connection{video: newRecorder(), connected: make(chan struct{}),
		closed: make(chan error, 1)}}
	var err error
	c.peer, err = engine.NewPeer(PeerConfig{
		Video:       &Uplink{Format: vp8, Receiver: c.video, Encodings: encodings},
		OnConnected: func() { close(c.connected) },
		OnClosed:    func(err error) { c.closed <- err },
	})
	must(t, err)
	c.client = newClientWith(t, nil, func(media *webrtc.MediaEngine) {
		numbering(t, media)
		must(t, webrtc.ConfigureSimulcastExtensionHeaders(media))
	}, false, false)
	for _, e := range encodings {
		capability := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}
		track, err := webrtc.NewTrackLocalStaticRTP(capability, "video", "local", webrtc.WithRTPStreamID(e.RID))
		must(t, err)
		c.tracks = append(c.tracks, track)
	}

	return c
}

// answerOffer is the client's answer to an offer.
func (c *simulcastConnection) answerOffer(t testing.TB, offer string) string {
	t.Helper()
	first := c.sender == nil
	if first {
		c.client.early = c.tracks[:1]
	}
	c.client.prepare(t, offer)
	if first {
		c.sender = c.client.senders[0]
		for _, track := range c.tracks[1:] {
			must(t, c.sender.AddEncoding(track))
		}
	}

	return c.client.finish(t)
}

// negotiate does one offer and answer.
func (c *simulcastConnection) negotiate(t testing.TB) string {
	t.Helper()
	offer, err := c.peer.Offer()
	must(t, err)
	must(t, c.peer.Answer(c.answerOffer(t, offer)))

	return offer
}

func connectSimulcast(t testing.TB) *simulcastConnection {
	t.Helper()
	c := newSimulcast(t, newEngine(t))
	c.negotiate(t)
	within(t, "connection", c.connected)
	within(t, "connection at the client", c.client.connected)

	return c
}

// ssrcs are those by which the client sends its encodings.
func (c *simulcastConnection) ssrcs() (ssrcs []uint32) {
	for _, e := range c.sender.GetParameters().Encodings {
		ssrcs = append(ssrcs, uint32(e.SSRC))
	}

	return ssrcs
}

// said is a packet that says which encoding it is of.
func said(t testing.TB, sequenceNumber uint16, extension extension, rid string) *rtp.Packet {
	t.Helper()
	packet := numbered(sequenceNumber)
	must(t, packet.SetExtension(midExtension.id, []byte("0")))
	must(t, packet.SetExtension(extension.id, []byte(rid)))

	return packet
}

// strange has a packet of an SSRC come that was sealed by the client.
func (c *simulcastConnection) strange(
	t testing.TB, context *srtp.Context, ssrc uint32, payloadType uint8, packet *rtp.Packet,
) {
	t.Helper()
	packet.SSRC, packet.PayloadType = ssrc, payloadType
	arrive(c.peer, udp.NewBatch(0, nil), sealed(t, context, packet))
}

// came tells the layers and numbers of what has come.
func (c *simulcastConnection) came() string {
	var words []string
	for _, packet := range c.video.received() {
		words = append(words, fmt.Sprintf("%d:%d", packet.Layer, uint16(packet.SequenceNumber)))
	}

	return strings.Join(words, " ")
}

func TestSimulcastIsOffered(t *testing.T) {
	c := newSimulcast(t, newEngine(t))
	_, err := c.peer.AddDownlink("SENDER", vp8)
	must(t, err)
	offer, err := c.peer.Offer()
	must(t, err)
	got := lines(t, offer)
	for _, part := range []string{
		"a=rid:r0 recv\r", "a=rid:r1 recv\r", "a=rid:r2 recv\r", "a=simulcast:recv r0;r1;~r2",
		"a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r",
		"a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r",
		"a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r",
	} {
		if !strings.Contains(got[0], part) {
			t.Errorf("the m-line has no %q:\n%s", part, got[0])
		}
		if strings.Contains(got[1], part) {
			t.Errorf("a line on which the client receives has %q:\n%s", part, got[1])
		}
	}
}

// Packets tell which encoding an SSRC is. Once they have, they need not any more.
func TestLayersAreLearned(t *testing.T) {
	c := connectSimulcast(t)
	if sends := c.peer.Sends(); !slices.Equal(sends, []media.Kind{videoKind}) {
		t.Errorf("client sends %v", sends)
	}
	for i, track := range c.tracks {
		must(t, track.WriteRTP(said(t, 100*uint16(i), ridExtension, encodings[i].RID)))
		until(t, "its packet", func() bool { return len(c.video.received()) == 2*i+1 }, func() {})
		must(t, track.WriteRTP(numbered(100*uint16(i)+2)))
		until(t, "one that says nothing", func() bool { return len(c.video.received()) == 2*i+2 }, func() {})
	}
	if got := c.came(); got != "0:0 0:2 1:100 1:102 2:200 2:202" {
		t.Errorf("packets %s", got)
	}
	if got := c.peer.videoSSRCs(); !slices.Equal(got, c.ssrcs()) {
		t.Errorf("SSRCs %v, want %v", got, c.ssrcs())
	}
	for i, ssrc := range c.ssrcs() {
		must(t, c.client.pc.WriteRTCP([]rtcp.Packet{&rtcp.SenderReport{SSRC: ssrc, NTPTime: 1 << 40, RTPTime: uint32(i)}}))
		if got := within(t, "sender report", c.video.reports); got.layer != media.Layer(i) || got.rtpTime != uint32(i) {
			t.Errorf("sender report %v of layer %d", got, i)
		}
	}
}

// simulcastRTCP is the RTCP that the client gets about its encodings.
func (c *simulcastConnection) simulcastRTCP() <-chan rtcp.Packet {
	packets := make(chan rtcp.Packet, 1000)
	for _, e := range encodings {
		go func() {
			for {
				batch, _, err := c.sender.ReadSimulcastRTCP(e.RID)
				if err != nil {
					return
				}
				for _, packet := range batch {
					packets <- packet
				}
			}
		}()
	}

	return packets
}

// What is asked of a client is asked of the layer that it is about.
func TestLayersAreAskedForByTheirSSRCs(t *testing.T) {
	c := connectSimulcast(t)
	for i, track := range c.tracks {
		for _, n := range []uint16{10, 12 + uint16(i)} { // 11, and what is before 12+i, are lost
			must(t, track.WriteRTP(said(t, n, ridExtension, encodings[i].RID)))
		}
	}
	until(t, "all packets", func() bool { return len(c.video.received()) == 6 }, func() {})
	packets, ssrcs := c.simulcastRTCP(), c.ssrcs()
	c.peer.RequestKeyframe(media.LayersOf(0, 2))
	wanted := map[uint32]bool{ssrcs[0]: true, ssrcs[2]: true}
	lost := map[uint32]int{ssrcs[0]: 1, ssrcs[1]: 2, ssrcs[2]: 3}
	reported := map[uint32]bool{ssrcs[0]: true, ssrcs[1]: true, ssrcs[2]: true}
	deadline := time.After(patience)
	for len(wanted)+len(lost)+len(reported) > 0 {
		select {
		case <-deadline:
			t.Fatalf("no PLI of %v, NACK of %v, report on %v", wanted, lost, reported)
		case packet := <-packets:
			switch packet := packet.(type) {
			case *rtcp.PictureLossIndication:
				if packet.MediaSSRC == ssrcs[1] {
					t.Fatal("a keyframe is asked for of a layer that nobody wants")
				}
				delete(wanted, packet.MediaSSRC)
			case *rtcp.TransportLayerNack:
				if numbers := packet.Nacks[0].PacketList(); numbers[0] == 11 && len(numbers) == lost[packet.MediaSSRC] {
					delete(lost, packet.MediaSSRC)
				}
			case *rtcp.ReceiverReport:
				for _, report := range packet.Reports {
					delete(reported, report.SSRC)
				}
			}
		}
	}
}

// Retransmissions of an encoding come on a stream that says so.
func TestRetransmissionsOfALayer(t *testing.T) {
	c := connectSimulcast(t)
	context := ofClient(t, c.peer)
	again := said(t, 7, repairedRIDExtension, "r1")
	again.Payload = []byte{0, 11, 1}
	c.strange(t, context, 72, 97, again) // before its layer is known
	for _, n := range []uint16{10, 12} {
		c.strange(t, context, 71, 96, said(t, n, ridExtension, "r1"))
	}
	again = numbered(8)
	again.Payload = []byte{0, 11, 1}
	c.strange(t, context, 72, 97, again)
	if got := c.came(); got != "1:10 1:12 1:11" {
		t.Errorf("packets %s", got)
	}
	if got := c.video.received(); got[2].SSRC != 71 {
		t.Errorf("a retransmission has the SSRC %d", got[2].SSRC)
	}
}

// What is not of the client, or cannot be what it says, leaves nothing behind.
func TestStrangersAreNotLearned(t *testing.T) {
	c := connectSimulcast(t)
	context := ofClient(t, c.peer)
	forged := func(packet *rtp.Packet, change func(*rtp.Packet, []byte)) []byte {
		packet.SSRC, packet.PayloadType = 99, 96
		change(packet, nil)
		datagram := sealed(t, context, packet)
		change(packet, datagram)

		return datagram
	}
	before := c.peer.engine.Stats()
	batch := udp.NewBatch(0, nil)
	none := func(*rtp.Packet, []byte) {}
	arrive(c.peer, batch,
		forged(said(t, 1, ridExtension, "r0"), func(_ *rtp.Packet, datagram []byte) {
			if datagram != nil {
				datagram[len(datagram)-1] ^= 1
			}
		}),
		forged(said(t, 2, ridExtension, "r7"), none),
		forged(numbered(3), none),
		forged(said(t, 4, ridExtension, "r0"), func(p *rtp.Packet,
			_ []byte) {
			must(t, p.SetExtension(midExtension.id, []byte("1")))
		}),
		forged(said(t, 5, ridExtension, "r0"), func(p *rtp.Packet, _ []byte) { p.PayloadType = 97 }),
		forged(said(t, 6, repairedRIDExtension, "r0"), none),
	)
	if got := c.came(); got != "" {
		t.Errorf("packets %s", got)
	}
	c.peer.inbound.mu.Lock()
	if _, known := c.peer.inbound.context.ROC(99); known || len(c.peer.inbound.authenticated) != 0 {
		t.Errorf("the SRTP context knows a stranger")
	}
	c.peer.inbound.mu.Unlock()
	after := c.peer.engine.Stats()
	if malformed := after.MalformedRTP - before.MalformedRTP; malformed != 1 {
		t.Errorf("%d malformed, want 1", malformed)
	}
	if undeclared := after.UndeclaredRTP - before.UndeclaredRTP; undeclared != 3 {
		t.Errorf("%d undeclared, want 3", undeclared)
	}
	if unnegotiated := after.UnnegotiatedRTP - before.UnnegotiatedRTP; unnegotiated != 2 {
		t.Errorf("%d of other payload types, want 2", unnegotiated)
	}
}

// An encoding may change its SSRC, some times; the one that it had does not come back.
func TestLayersChangeTheirSSRCs(t *testing.T) {
	c := connectSimulcast(t)
	context := ofClient(t, c.peer)
	c.strange(t, context, 1, 96, said(t, 10, ridExtension, "r0"))
	c.strange(t, context, 2, 96, said(t, 500, ridExtension, "r0"))
	c.strange(t, context, 1, 96, said(t, 11, ridExtension, "r0"))
	c.strange(t, context, 2, 96, numbered(501))
	if got := c.came(); got != "0:10 0:500 0:501" {
		t.Errorf("packets %s", got)
	}
	if got := c.video.received(); got[1].SequenceNumber <= got[0].SequenceNumber {
		t.Errorf("numbers %d, %d go back", got[0].SequenceNumber, got[1].SequenceNumber)
	}
	for ssrc := range uint32(100) {
		c.strange(t, context, 1000+ssrc, 96, said(t, 1, ridExtension, "r0"))
	}
	if got := len(c.video.received()); got != 3+maxLearned-2 {
		t.Errorf("%d packets, want those of %d SSRCs", got, maxLearned)
	}
}

// The first wrap-around of a sender's numbers may be before its first packet that comes.
func TestLayerBeginsAfterAWrapAround(t *testing.T) {
	c := connectSimulcast(t)
	context := ofClient(t, c.peer)
	_ = sealed(t, context, &rtp.Packet{Header: rtp.Header{SSRC: 5, SequenceNumber: 65_535}}) // lost
	c.strange(t, context, 5, 96, said(t, 0, ridExtension, "r1"))
	c.strange(t, context, 5, 96, numbered(1))
	if got := c.came(); got != "1:0 1:1" {
		t.Errorf("packets %s", got)
	}
}

// A further answer changes nothing of what was learned.
func TestLayersOutliveNegotiation(t *testing.T) {
	c := connectSimulcast(t)
	must(t, c.tracks[1].WriteRTP(said(t, 1, ridExtension, "r1")))
	until(t, "its packet", func() bool { return len(c.video.received()) == 1 }, func() {})
	_, err := c.peer.AddDownlink("SENDER", vp8)
	must(t, err)
	c.negotiate(t)
	must(t, c.tracks[1].WriteRTP(numbered(2)))
	until(t, "one that says nothing", func() bool { return len(c.video.received()) == 2 }, func() {})
	if got := c.came(); got != "1:1 1:2" {
		t.Errorf("packets %s", got)
	}
}

// Who does not answer the encodings sends one picture, as without them; of those that it answers, others are not its.
func TestAnswersToEncodings(t *testing.T) {
	for name, c := range map[string]struct {
		change func(answer string) string
		want   string
	}{
		"all": {func(answer string) string { return answer }, "0 0 true 0 1 true 0 2 true"},
		"some, one paused": {func(answer string) string {
			return strings.Replace(answer, "send r0;r1;r2", "send ~r0;r2",
				1)
		}, "0 0 true 0 2 true"},
		"none": {func(answer string) string {
			return strings.Replace(answer, "a=simulcast:send", "a=x:",
				1)
		}, "SSRC 0 true"},
		"others": {func(answer string) string {
			return strings.Replace(answer, "send r0;r1;r2", "send hi;lo",
				1)
		}, "SSRC 0 true"},
		"no way to tell them": {func(answer string) string {
			return strings.Replace(answer, ridExtension.uri, "urn:x",
				1)
		}, "SSRC 0 true"},
		"as what it receives": {func(answer string) string {
			return strings.Replace(answer, "send r0;r1;r2",
				"recv r0;r1;r2", 1)
		}, "SSRC 0 true"},
		"alternatives": {func(answer string) string {
			return strings.Replace(answer, "send r0;r1;r2",
				"send r0,r1;x", 1)
		}, "0 0 true 0 1 true"},
		"contradictory, doubly": {func(answer string) string {
			return strings.Replace(answer, "send r0;r1;r2",
				"send r0;r0;~r0", 1)
		}, "0 0 true"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := newSimulcast(t, newEngine(t))
			offer, err := conn.peer.Offer()
			must(t, err)
			answer := conn.answerOffer(t, offer)
			must(t, conn.peer.Answer(c.change(answer+"a=ssrc:4711 cname:x\r\n")))
			conn.peer.inbound.mu.Lock()
			defer conn.peer.inbound.mu.Unlock()
			var words []string
			for _, s := range conn.peer.inbound.streams {
				if s.retransmissions {
					continue
				}
				ssrc := fmt.Sprint(s.ssrc)
				if s.ssrc != 0 {
					ssrc = "SSRC"
				}
				words = append(words, ssrc, fmt.Sprint(s.layer), fmt.Sprint(len(conn.peer.Sends()) == 1))
			}
			if got := strings.Join(words, " "); got != c.want {
				t.Errorf("streams %s, want %s\n%s", got, c.want, answer)
			}
		})
	}
}

// FuzzLayers: whatever a client's packets say that they are of, no more is learned than there may be, and what is
// handed on is of a layer that there is.
func FuzzLayers(f *testing.F) {
	c := connectSimulcast(f)
	context := ofClient(f, c.peer)
	f.Add(byte(1), byte(96), true, []byte{0xbe, 0xde, 0, 2, 0x40, '0', 0xa1, 'r', '0', 0, 0, 0, 1})
	f.Add(byte(2), byte(97), true, []byte{0xbe, 0xde, 0, 2, 0x40, '0', 0xb1, 'r', '2', 0, 0, 0, 1})
	f.Add(byte(3), byte(96), false, []byte{0x10, 0, 0, 2, 10, 2, 'r', '1', 4, 1, '0', 0, 1})
	f.Add(byte(0), byte(96), true, []byte{0xbe, 0xde, 0, 1, 0xa1, 'r', '0', 0, 1}) // SSRC 0
	f.Add(byte(4), byte(96), true, []byte{0xbe, 0xde, 0xff, 0xff, 0xa1, 'r', '0'})
	number := uint16(0)
	f.Fuzz(func(t *testing.T, ssrc, payloadType byte, authentic bool, extensions []byte) {
		number++
		packet := append([]byte{0x90, payloadType & 0x7f}, make([]byte, rtpHeaderBytes-2)...)
		binary.BigEndian.PutUint16(packet[2:], number)
		binary.BigEndian.PutUint32(packet[8:], uint32(ssrc))
		packet = append(packet, extensions...)
		if datagram, err := context.EncryptRTP(nil, packet, nil); err == nil && authentic {
			packet = datagram
		}
		if len(packet) > udp.MaxDatagram {
			return
		}
		arrive(c.peer, udp.NewBatch(0, nil), packet)
		for _, received := range c.video.received() {
			if int(received.Layer) >= len(encodings) || received.SSRC == 0 {
				t.Fatalf("handed on: %+v", received)
			}
		}
		c.video.mu.Lock()
		c.video.packets = nil
		c.video.mu.Unlock()
		c.peer.inbound.mu.Lock()
		defer c.peer.inbound.mu.Unlock()
		if learned := len(c.peer.inbound.authenticated); learned > 2*len(encodings)*maxLearned {
			t.Fatalf("%d SSRCs are remembered", learned)
		}
	})
}

// What an answer says is paused (RFC 8853 section 5.1) is learned when it comes: browsers begin to send it without
// a new answer. What it does not name is not.
func TestPausedEncodingsOfAnAnswer(t *testing.T) {
	for list, want := range map[string]string{
		"r0;r1;~r2":   "0:1 1:1 2:1",
		"~r0;~r1;~r2": "0:1 1:1 2:1",
		"~r1":         "1:1",
		"r0;~r1,r2":   "0:1 1:1 2:1",
	} {
		t.Run(list, func(t *testing.T) {
			c := newSimulcast(t, newEngine(t))
			offer, err := c.peer.Offer()
			must(t, err)
			answer := c.answerOffer(t, offer)
			sends := "a=simulcast:send r0;r1;r2\r\n"
			if !strings.Contains(answer, sends) {
				t.Fatalf("the client's answer has no %q:\n%s", sends, answer)
			}
			must(t, c.peer.Answer(strings.ReplaceAll(answer, sends, "a=simulcast:send "+list+"\r\n")))
			within(t, "connection", c.connected)
			if sends := c.peer.Sends(); !slices.Equal(sends, []media.Kind{videoKind}) {
				t.Errorf("client sends %v", sends)
			}
			context := ofClient(t, c.peer)
			for i, e := range encodings {
				c.strange(t, context, 10+uint32(i), 96, said(t, 1, ridExtension, e.RID))
			}
			if got := c.came(); got != want {
				t.Errorf("packets %s, want %s", got, want)
			}
		})
	}
}
