package rtc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// ofClient makes the context with which a client seals what it sends.
func ofClient(t testing.TB, p *Peer) *srtp.Context {
	t.Helper()
	k := p.keys.Load()
	context, err := srtp.CreateContext(k.session.RemoteMasterKey, k.session.RemoteMasterSalt, k.profile)
	if err != nil {
		t.Fatal(err)
	}

	return context
}

func sealed(t testing.TB, context *srtp.Context, packet *rtp.Packet) []byte {
	t.Helper()
	packet.Version = 2
	plain, err := packet.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	datagram, err := context.EncryptRTP(nil, plain, nil)
	if err != nil {
		t.Fatal(err)
	}

	return datagram
}

// arrive has the demuxer take in datagrams of a peer's client, on a goroutine of the test's.
func arrive(p *Peer, batch *udp.Batch, datagrams ...[]byte) {
	d := demuxer{engine: p.engine}
	burst := make([]udp.Datagram, len(datagrams))
	for i, datagram := range datagrams {
		burst[i] = udp.Datagram{Payload: datagram, Source: p.selected.Load().AddrPort()}
	}
	d.receive(batch, burst)
}

// What a client with RTX asks for again comes on the RTX stream, as RFC 4588 section 4 has it, and once more each time.
func TestResendOnTheRetransmissionStream(t *testing.T) {
	c := connect(t, newEngine(t), true)
	d, _ := bind(t, c, "SENDER")
	switch rtx := d.binding.Load().rtx; {
	case rtx.ssrc == 0:
		t.Fatal("the client's answer has RTX, but none was negotiated")
	case rtx.context != nil:
		t.Error("memory for sealing what was lost is taken before anything is")
	}
	var sent [][]byte
	batch := udp.NewBatch(0, func(datagram []byte, _ *udp.Destination) { sent = append(sent, bytes.Clone(datagram)) })
	for range 2 {
		if err := d.ResendRTP(batch, &media.Outgoing{SequenceNumber: 4711, Timestamp: 90_000, Marker: true,
			Payload: []byte("payload"), Padding: 3}); err != nil {
			t.Fatal(err)
		}
	}
	batch.Flush()
	k := c.peer.keys.Load()
	context, err := srtp.CreateContext(k.session.LocalMasterKey, k.session.LocalMasterSalt, k.profile)
	if err != nil {
		t.Fatal(err)
	}
	for i, datagram := range sent {
		plain, err := context.DecryptRTP(nil, datagram, nil)
		if err != nil {
			t.Fatal(err)
		}
		packet := &rtp.Packet{}
		if err := packet.Unmarshal(plain); err != nil {
			t.Fatal(err)
		}
		if packet.SSRC != d.rtxSSRC || packet.PayloadType != 97 || packet.SequenceNumber != uint16(i) ||
			packet.Timestamp != 90_000 ||
			!packet.Marker || packet.Header.PaddingSize != 3 ||
			binary.BigEndian.Uint16(packet.Payload) != 4711 || string(packet.Payload[2:]) != "payload" {
			t.Errorf("retransmission %d is %v %q", i, packet, packet.Payload)
		}
	}
}

// Without RTX a packet is sent again bit for bit: anything else under the same SRTP index would reveal the key stream.
func TestResendWithoutRTXIsTheSamePacket(t *testing.T) {
	c := connect(t, newEngine(t), true)
	d, err := c.peer.AddDownlink("SENDER", opus)
	if err != nil {
		t.Fatal(err)
	}
	f := newFed()
	d.Attach(f)
	negotiate(t, c.peer, c.client)
	within(t, "Bound", f.bound)
	var sent [][]byte
	batch := udp.NewBatch(0, func(datagram []byte, _ *udp.Destination) { sent = append(sent, bytes.Clone(datagram)) })
	for n := range uint16(3) {
		if err := d.WriteRTP(batch, &media.Outgoing{SequenceNumber: 65535 + n, Timestamp: 1, Marker: true,
			Payload: []byte(fmt.Sprint("payload", n)), Padding: 2}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range uint16(3) {
		if err := d.ResendRTP(batch, &media.Outgoing{SequenceNumber: 65535 + n, Timestamp: 1, Marker: true,
			Payload: []byte(fmt.Sprint("payload", n)), Padding: 2}); err != nil {
			t.Fatal(err)
		}
	}
	batch.Flush()
	for n := range 3 {
		if !bytes.Equal(sent[n], sent[n+3]) {
			t.Errorf("packet %d was\n%x, and again\n%x", n, sent[n], sent[n+3])
		}
	}
}

// Retransmissions of a client come to the uplink as the packets that they repeat; padding on their stream is nothing.
func TestUplinkRetransmissions(t *testing.T) {
	c := connect(t, newEngine(t), true)
	c.peer.inbound.mu.Lock()
	stream := c.peer.inbound.streams[1]
	c.peer.inbound.streams = append(c.peer.inbound.streams,
		inboundStream{ssrc: 99, payloadType: 97, uplink: stream.uplink, retransmissions: true})
	c.peer.inbound.mu.Unlock()
	context := ofClient(t, c.peer)
	media := func(n uint16) []byte {
		return sealed(t, context, &rtp.Packet{Header: rtp.Header{SequenceNumber: n, Timestamp: 5, SSRC: stream.ssrc,
			PayloadType: 96}, Payload: []byte{byte(n)}})
	}
	arrive(c.peer, udp.NewBatch(0, nil), media(10), media(12),
		sealed(t, context, &rtp.Packet{Header: rtp.Header{SequenceNumber: 1, Timestamp: 5, SSRC: 99, PayloadType: 97},
			Payload: []byte{0, 11, 11}}),
		sealed(t, context, &rtp.Packet{Header: rtp.Header{SequenceNumber: 2, Timestamp: 5, SSRC: 99, PayloadType: 97,
			Padding: true, PaddingSize: 200}}))
	var got []string
	for _, packet := range c.video.received() {
		got = append(got, fmt.Sprintf("%t %d %d", packet.SSRC == stream.ssrc, uint16(packet.SequenceNumber), packet.Payload))
	}
	if want := "[true 10 [10] true 12 [12] true 11 [11]]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	c.peer.inbound.mu.Lock()
	defer c.peer.inbound.mu.Unlock()
	if len(stream.reception().missing) != 0 {
		t.Errorf("still missing: %v", stream.reception().missing)
	}
}

// What comes on the retransmission stream far off the numbers that the client sends now was asked for long ago. Two of
// them in order would pass for a new run of numbers, to which every receiver would change over, and back.
func TestUplinkRetransmissionsFarOff(t *testing.T) {
	c := connect(t, newEngine(t), true)
	c.peer.inbound.mu.Lock()
	stream := c.peer.inbound.streams[1]
	c.peer.inbound.streams = append(c.peer.inbound.streams,
		inboundStream{ssrc: 99, payloadType: 97, uplink: stream.uplink, retransmissions: true})
	c.peer.inbound.mu.Unlock()
	context := ofClient(t, c.peer)
	media := func(n uint16) []byte {
		return sealed(t, context, &rtp.Packet{Header: rtp.Header{SequenceNumber: n, SSRC: stream.ssrc, PayloadType: 96},
			Payload: []byte{1}})
	}
	again := uint16(0)
	resent := func(n uint16) []byte {
		again++
		original := []byte{byte(n >> 8), byte(n), 1}

		return sealed(t, context, &rtp.Packet{Header: rtp.Header{SequenceNumber: again, SSRC: 99, PayloadType: 97},
			Payload: original})
	}
	arrive(c.peer, udp.NewBatch(0, nil), media(40_000), media(40_002),
		resent(20_000), resent(20_001), resent(60_000), resent(60_001), resent(36_000), resent(36_001),
		resent(40_001), media(40_003))
	var got []uint16
	for _, packet := range c.video.received() {
		got = append(got, uint16(packet.SequenceNumber))
	}
	if want := []uint16{40_000, 40_002, 40_001, 40_003}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The largest packet that is taken in can leave, and can be sent again: one that could not would use up a number that
// SRTP never learns of.
func TestLargestPayloadLeaves(t *testing.T) {
	_, d := timed(t, func(answer string) string { return answer })
	if d.binding.Load().rtx.sendTime == 0 {
		t.Fatal("no retransmission stream with send times was negotiated")
	}
	var sizes []int
	batch := udp.NewBatch(0, func(datagram []byte, _ *udp.Destination) { sizes = append(sizes, len(datagram)) })
	payload := make([]byte, maxPayloadBytes)
	must(t, d.WriteRTP(batch, &media.Outgoing{SequenceNumber: 1, Marker: true, Payload: payload}))
	must(t, d.ResendRTP(batch, &media.Outgoing{SequenceNumber: 1, Marker: true, Payload: payload}))
	batch.Flush()
	// One more byte would not fit: the limit costs no sender a packet that could leave.
	if want := []int{udp.MaxDatagram - 2, udp.MaxDatagram}; !slices.Equal(sizes, want) {
		t.Errorf("datagrams of %v bytes, want %v", sizes, want)
	}
}

// Packets that are forged, repeated, cut or lie about their lengths are counted and harm nothing.
func TestBadPacketsOfAClient(t *testing.T) {
	engine := newEngine(t)
	c := connect(t, engine, true)
	ssrc := ssrcOf(c.client.senders[1])
	context := ofClient(t, c.peer)
	good := func(n uint16) []byte {
		return sealed(t, context, &rtp.Packet{Header: rtp.Header{SequenceNumber: n, SSRC: ssrc, PayloadType: 96},
			Payload: []byte{1, 2, 3}})
	}
	// raw seals what no marshaller would make.
	raw := func(n uint16, change func(plain []byte) []byte) []byte {
		plain := make([]byte, 20)
		plain[0], plain[1] = 2<<6, 96
		binary.BigEndian.PutUint16(plain[2:], n)
		binary.BigEndian.PutUint32(plain[8:], ssrc)
		datagram, err := context.EncryptRTP(nil, change(plain), nil)
		if err != nil {
			t.Fatal(err)
		}

		return datagram
	}
	forged := good(2)
	forged[len(forged)-1] ^= 1
	repeated := good(3)
	bad := map[string][]byte{
		"forged": forged,
		"cut":    good(4)[:20],
		"padding of 0": raw(5, func(p []byte) []byte {
			p[0] |= 0x20

			return p
		}),
		"padding beyond header": raw(6, func(p []byte) []byte {
			p[0] |= 0x20
			p[len(p)-1] = 200

			return p
		}),
	}
	sized := func(n uint16, bytes int) []byte {
		return sealed(t, context, &rtp.Packet{Header: rtp.Header{SequenceNumber: n, SSRC: ssrc, PayloadType: 96},
			Payload: make([]byte, bytes)})
	}
	bad["too large to leave"] = sized(9, maxPayloadBytes+1)
	batch := udp.NewBatch(0, nil)
	arrive(c.peer, batch, good(1), repeated, sized(10, maxPayloadBytes))
	copied := good(7) // replayed below
	arrive(c.peer, batch, bytes.Clone(copied))
	bad["repeated"] = copied
	for name, datagram := range bad {
		before := engine.Stats().MalformedRTP
		arrive(c.peer, batch, datagram)
		if got := engine.Stats().MalformedRTP - before; got != 1 {
			t.Errorf("%s: %d malformed packets counted", name, got)
		}
	}
	arrive(c.peer, batch, good(8))
	if got := len(c.video.received()); got != 5 {
		t.Errorf("%d good packets received, 5 were sent", got)
	}
}

// FuzzDatagrams: a client may send anything from its own address.
func FuzzDatagrams(f *testing.F) {
	engine := newEngine(f)
	c := connect(f, engine, true)
	ssrc := ssrcOf(c.client.senders[1])
	context := ofClient(f, c.peer)
	f.Add(sealed(f, context, &rtp.Packet{Header: rtp.Header{SequenceNumber: 1, SSRC: ssrc, PayloadType: 96},
		Payload: []byte{1}}), true)
	f.Add([]byte{0x90, 96, 0, 1, 0, 0, 0, 0, byte(ssrc >> 24), byte(ssrc >> 16), byte(ssrc >> 8), byte(ssrc), 0xbe, 0xde,
		0xff, 0xff}, true)
	f.Add([]byte{0x80, 200, 0, 6, 0, 0, 0, 1, 2, 3}, false)
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, false)
	f.Add([]byte{22, 254, 253}, false)
	f.Add([]byte{}, false)
	number := uint16(100)
	f.Fuzz(func(t *testing.T, datagram []byte, seal bool) {
		if seal && len(datagram) >= rtpHeaderBytes {
			// Also what is authentic may be malformed.
			number++
			datagram = bytes.Clone(datagram)
			datagram[1] = 96 | datagram[1]&0x80
			binary.BigEndian.PutUint16(datagram[2:], number)
			binary.BigEndian.PutUint32(datagram[8:], ssrc)
			if authentic, err := context.EncryptRTP(nil, datagram, nil); err == nil {
				datagram = authentic
			}
		}
		arrive(c.peer, udp.NewBatch(0, nil), datagram)
	})
}

// The time that a client was heard last moves with every authentic packet.
func TestHeard(t *testing.T) {
	c := connect(t, newEngine(t), true)
	c.peer.liveness.heard.Store(1)
	context := ofClient(t, c.peer)
	ssrc := ssrcOf(c.client.senders[1])
	arrive(c.peer, udp.NewBatch(0, nil), sealed(t, context,
		&rtp.Packet{Header: rtp.Header{SequenceNumber: 1, SSRC: ssrc, PayloadType: 96}, Payload: []byte{1}}))
	if c.peer.liveness.heard.Load() == 1 {
		t.Error("an authentic packet is not heard")
	}
}

// What is of another payload type than the client's answer has for it reaches nobody, encrypted well or not: receivers
// were promised another codec.
func TestPayloadTypesThatWereNotNegotiated(t *testing.T) {
	engine := newEngine(t)
	c := connect(t, engine, true)
	streams := c.peer.inbound.streams
	audio, video, rtx := streams[0].ssrc, streams[1].ssrc, uint32(99)
	c.peer.inbound.mu.Lock()
	c.peer.inbound.streams = append(streams,
		inboundStream{ssrc: rtx, payloadType: 97, uplink: streams[1].uplink, retransmissions: true})
	c.peer.inbound.mu.Unlock()
	context := ofClient(t, c.peer)
	received := func() int { return len(c.audio.received()) + len(c.video.received()) }
	number := uint16(0)
	for ssrc, right := range map[uint32]uint8{audio: 111, video: 96, rtx: 97} {
		for _, payloadType := range []uint8{0, 96, 97, 98, 111, 127, right} {
			for _, marker := range []bool{false, true} {
				number++
				header := rtp.Header{SequenceNumber: number, SSRC: ssrc, PayloadType: payloadType, Marker: marker}
				datagram := sealed(t, context, &rtp.Packet{Header: header, Payload: []byte{0, byte(number), 1}})
				refusedBefore, gotBefore := engine.Stats().UnnegotiatedRTP, received()
				arrive(c.peer, udp.NewBatch(0, nil), datagram)
				refused, got := engine.Stats().UnnegotiatedRTP-refusedBefore, received()-gotBefore
				if want := payloadType == right; (got == 1) != want || (refused == 0) != want {
					t.Errorf("SSRC %d, type %d, marker %t: %d handed on, %d dropped", ssrc, payloadType, marker, got, refused)
				}
			}
		}
	}
	if got := engine.Stats().MalformedRTP; got != 0 {
		t.Errorf("%d count as malformed", got)
	}
}

// Padding on the retransmission stream is what browsers probe the bandwidth with, and nothing malformed.
func TestProbingIsNotMalformed(t *testing.T) {
	engine := newEngine(t)
	c := connect(t, engine, true)
	c.peer.inbound.mu.Lock()
	stream := c.peer.inbound.streams[1]
	c.peer.inbound.streams = append(c.peer.inbound.streams,
		inboundStream{ssrc: 99, payloadType: 97, uplink: stream.uplink, retransmissions: true})
	c.peer.inbound.mu.Unlock()
	context := ofClient(t, c.peer)
	arrive(c.peer, udp.NewBatch(0, nil),
		sealed(t, context, &rtp.Packet{Header: rtp.Header{SequenceNumber: 1, SSRC: 99, PayloadType: 97, Padding: true,
			PaddingSize: 200}}),
		sealed(t, context, &rtp.Packet{Header: rtp.Header{SequenceNumber: 2, SSRC: 99, PayloadType: 97}, Payload: []byte{7}}))
	if got := engine.Stats().MalformedRTP; got != 1 {
		t.Errorf("%d malformed packets, one is", got)
	}
}

// A part of a compound that is malformed, or unknown, does not cost the others.
func TestMalformedPartsOfACompound(t *testing.T) {
	engine := newEngine(t)
	c := connect(t, engine, true)
	d, f := bind(t, c, "SENDER")
	context := ofClient(t, c.peer)
	pli, err := (&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: d.SSRC()}).Marshal()
	must(t, err)
	for name, part := range map[string][]byte{
		"application layer feedback that is no REMB": {0x8f, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 'L', 'N', 'T', 'F'},
		"sender report that is too short":            {0x80, 200, 0, 1, 0, 0, 0, 1},
		"unknown type":                               {0x80, 222, 0, 1, 0, 0, 0, 1},
	} {
		for _, compound := range [][]byte{append(bytes.Clone(part), pli...), append(bytes.Clone(pli), part...)} {
			datagram, err := context.EncryptRTCP(nil, compound, nil)
			must(t, err)
			arrive(c.peer, udp.NewBatch(0, nil), datagram)
			select {
			case <-f.plis:
			default:
				t.Errorf("%s: the PLI beside it is lost", name)
			}
		}
	}
	datagram, err := context.EncryptRTCP(nil, append(bytes.Clone(pli), 0x81, 206, 0, 99, 1, 2, 3, 4), nil)
	must(t, err)
	before := engine.Stats().MalformedRTCP
	arrive(c.peer, udp.NewBatch(0, nil), datagram)
	if len(f.plis) != 1 || engine.Stats().MalformedRTCP != before+1 {
		t.Errorf("a part that is cut off: %d PLIs, %d malformed", len(f.plis), engine.Stats().MalformedRTCP-before)
	}
}

// Firefox sends RTCP as another SSRC for each stream that it receives: those of a large channel are all heard.
func TestReportersOfALargeChannel(t *testing.T) {
	c := connect(t, newEngine(t), true)
	d, f := bind(t, c, "SENDER")
	context := ofClient(t, c.peer)
	for reporter := range uint32(300) {
		plain, err := rtcp.Marshal([]rtcp.Packet{&rtcp.PictureLossIndication{SenderSSRC: 1000 + reporter,
			MediaSSRC: d.SSRC()}})
		must(t, err)
		datagram, err := context.EncryptRTCP(nil, plain, nil)
		must(t, err)
		arrive(c.peer, udp.NewBatch(0, nil), datagram)
		within(t, fmt.Sprint("PLI of reporter ", reporter), f.plis)
	}
}
