package rtc

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/transportcc"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// numbering has a client of Pion's number its packets transport-wide: the test writes the numbers.
func numbering(t testing.TB, engine *webrtc.MediaEngine) {
	t.Helper()
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		must(t, engine.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: transportWideNumber.uri}, kind))
		engine.RegisterFeedback(webrtc.RTCPFeedback{Type: transportCC}, kind)
	}
}

// connectNumbering is connect for a client that numbers its packets, by an identifier of its own.
func connectNumbering(t testing.TB, engine *Engine, id string) *connection {
	t.Helper()
	c := newConnection(t, engine, true)
	c.client = newClientWith(t, nil, func(media *webrtc.MediaEngine) { numbering(t, media) }, true, true)
	offer, err := c.peer.Offer()
	must(t, err)
	answer := c.client.answer(t, offer)
	must(t, c.peer.Answer(strings.ReplaceAll(answer, "extmap:3 ", "extmap:"+id+" ")))
	within(t, "connection", c.connected)
	within(t, "connection at the client", c.client.connected)

	return c
}

// numberedWide is a packet with a transport-wide number.
func numberedWide(t testing.TB, id uint8, sequenceNumber, wide uint16) *rtp.Packet {
	t.Helper()
	packet := numbered(sequenceNumber)
	must(t, packet.SetExtension(id, binary.BigEndian.AppendUint16(nil, wide)))

	return packet
}

// told is what transport-wide feedback says: numbers that came, and in brackets those that did not.
func told(packet *rtcp.TransportLayerCC) string {
	var words []string
	number := packet.BaseSequenceNumber
	say := func(symbol uint16) {
		if symbol == rtcp.TypeTCCPacketNotReceived {
			words = append(words, fmt.Sprintf("(%d)", number))
		} else {
			words = append(words, fmt.Sprint(number))
		}
		number++
	}
	for _, chunk := range packet.PacketChunks {
		switch chunk := chunk.(type) {
		case *rtcp.RunLengthChunk:
			for range chunk.RunLength {
				say(chunk.PacketStatusSymbol)
			}
		case *rtcp.StatusVectorChunk:
			for _, symbol := range chunk.SymbolList {
				say(symbol)
			}
		}
	}

	return strings.Join(words[:packet.PacketStatusCount], " ")
}

// A client that numbers its packets hears what came of them, whatever stream they are of, and no estimate of ours.
func TestTransportWideFeedback(t *testing.T) {
	c := connectNumbering(t, newEngine(t), "9")
	video := ssrcOf(c.client.senders[1])
	feedback := rtcpOf(c.client, c.client.senders[1])
	context := ofClient(t, c.peer)
	packets := func(from uint16, wide ...uint16) (datagrams [][]byte) {
		for i, number := range wide {
			packet := numberedWide(t, 9, from+uint16(i), number)
			packet.SSRC, packet.PayloadType = video, 96
			if number%4 == 2 {
				packet.SSRC, packet.PayloadType = ssrcOf(c.client.senders[0]), 111
			}
			datagrams = append(datagrams, sealed(t, context, packet))
		}

		return datagrams
	}
	batch := udp.NewBatch(0, nil)
	arrive(c.peer, batch, packets(1, 65533, 65534, 65535, 1)...)
	forged := packets(100, 0)
	forged[0][len(forged[0])-1] ^= 1
	arrive(c.peer, batch, forged...)
	packet := nextFeedback(t, feedback)
	if packet.SenderSSRC != c.peer.ssrc || told(packet) != "65533 65534 65535 (0) 1" {
		t.Fatalf("feedback %v", packet)
	}

	var many []uint16
	for n := range uint16(feedbackPackets) {
		many = append(many, 2+n)
	}
	arrive(c.peer, batch, packets(200, many...)...)
	if packet := nextFeedback(t, feedback); packet.BaseSequenceNumber != 2 || packet.PacketStatusCount != feedbackPackets {
		t.Fatalf("feedback %v", packet)
	}
}

// nextFeedback is the next transport-wide feedback. The client gets reports meanwhile, and no estimate.
func nextFeedback(t testing.TB, packets <-chan rtcp.Packet) *rtcp.TransportLayerCC {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case <-deadline:
			t.Fatalf("no transport-wide feedback within %v", patience)
		case packet := <-packets:
			switch packet := packet.(type) {
			case *rtcp.ReceiverEstimatedMaximumBitrate:
				t.Fatalf("an estimate of ours: %v", packet)
			case *rtcp.TransportLayerCC:
				return packet
			}
		}
	}
}

// What would tell a client its rate once a second is left to what tells it ten times a second, by the stream that
// takes up the room.
func TestEstimateIsForClientsWithoutFeedback(t *testing.T) {
	for name, c := range map[string]struct {
		audio, video       uint8
		sendAudio, sendVid bool
		want               float32
	}{
		"neither":                 {0, 0, true, true, 2_064_000},
		"both":                    {3, 3, true, true, 0},
		"video":                   {0, 3, true, true, 0},
		"audio":                   {3, 0, true, true, 2_064_000},
		"audio, and no video":     {3, 0, true, false, 0},
		"audio without, no video": {0, 3, true, false, 2_064_000},
		"nothing is sent yet":     {3, 3, false, false, 2_064_000},
	} {
		t.Run(name, func(t *testing.T) {
			p := newConnection(t, newEngine(t), true).peer
			p.inbound.mu.Lock()
			defer p.inbound.mu.Unlock()
			p.audio.transportCC, p.video.transportCC = c.audio, c.video
			if c.sendAudio {
				p.audio.layers[0].restart(1)
			}
			if c.sendVid {
				p.video.layers[0].restart(2)
			}
			var got float32
			if estimate := p.estimate(); estimate != nil {
				got = estimate.Bitrate
			}
			if got != c.want {
				t.Errorf("%v bit/s, want %v", got, c.want)
			}
		})
	}
}

// Who names no rate is not held to one, and is not left at a browser's first guess either.
func TestRatesThatNobodyNamed(t *testing.T) {
	peer, err := newEngine(t).NewPeer(PeerConfig{Audio: &Uplink{Receiver: newRecorder()},
		Video: &Uplink{Format: vp8, Receiver: newRecorder()}})
	must(t, err)
	offer, err := peer.Offer()
	must(t, err)
	if strings.Contains(offer, "b=") {
		t.Errorf("the offer names a rate:\n%s", offer)
	}
	peer.inbound.mu.Lock()
	defer peer.inbound.mu.Unlock()
	if estimate := peer.estimate(); estimate.Bitrate != 5_128_000 {
		t.Errorf("estimate %v", estimate.Bitrate)
	}
}

func TestNumberedPacketsDoNotAllocate(t *testing.T) {
	c := connectNumbering(t, newEngine(t), "9")
	context := ofClient(t, c.peer)
	const runs = 200
	var datagrams [][]byte
	for n := range uint16(runs) {
		packet := numberedWide(t, 9, n, n)
		packet.SSRC, packet.PayloadType = ssrcOf(c.client.senders[1]), 96
		datagrams = append(datagrams, sealed(t, context, packet))
	}
	p, d := c.peer, &demuxer{engine: c.peer.engine}
	burst := []udp.Datagram{{Source: p.selected.Load().AddrPort()}}
	plain, memory := make([]byte, 0, transportcc.MaxFeedbackBytes), make([]byte, 0, udp.MaxDatagram)
	if allocs := allocations(runs, func() {
		burst[0].Payload, datagrams = datagrams[0], datagrams[1:]
		p.open(burst, d.packets[:], d.owners[:], p.engine.began)
		p.inbound.mu.Lock()
		plain = p.congestion.arrivals.AppendFeedback(plain[:0], p.ssrc, 2)
		p.inbound.mu.Unlock()
		if _, err := p.reports.sealBytes(memory, plain); err != nil || len(plain) == 0 {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations for a packet and feedback on it", allocs)
	}
}
