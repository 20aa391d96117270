package rtc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// timing makes a client know absoluteSendTime.
func timing(t testing.TB, engine *webrtc.MediaEngine) {
	known := webrtc.RTPHeaderExtensionCapability{URI: absoluteSendTime.uri}
	must(t, engine.RegisterHeaderExtension(known, webrtc.RTPCodecTypeVideo))
}

// opened are datagrams as the client opens them.
func opened(t testing.TB, p *Peer, datagrams [][]byte) (packets []*rtp.Packet) {
	t.Helper()
	k := p.keys.Load()
	context, err := srtp.CreateContext(k.session.LocalMasterKey, k.session.LocalMasterSalt, k.profile)
	must(t, err)
	for _, datagram := range datagrams {
		plain, err := context.DecryptRTP(nil, datagram, nil)
		must(t, err)
		packet := &rtp.Packet{}
		must(t, packet.Unmarshal(plain))
		packets = append(packets, packet)
	}

	return packets
}

// collect is a batch, and the datagrams that it sends.
func collect() (*udp.Batch, *[][]byte) {
	sent := &[][]byte{}

	return udp.NewBatch(0, func(datagram []byte, _ *udp.Destination) {
		*sent = append(*sent,
			bytes.Clone(datagram))
	}), sent
}

// timed connects a client that takes send times by the identifier that its answer is given, and binds a stream of
// video.
func timed(t testing.TB, change func(answer string) string) (*Peer, *Downlink) {
	t.Helper()

	return timedBy(t, func(engine *webrtc.MediaEngine) { timing(t, engine) }, change)
}

// timedBy is timed for a client that knows what it is given.
func timedBy(
	t testing.TB, know func(*webrtc.MediaEngine), change func(answer string) string,
) (*Peer, *Downlink) {
	t.Helper()
	client := newClientWith(t, nil, know, false, false)
	connected := make(chan struct{})
	peer, err := newEngine(t).NewPeer(PeerConfig{OnConnected: func() { close(connected) }})
	must(t, err)
	d, err := peer.AddDownlink("SENDER", vp8)
	must(t, err)
	f := newFed()
	d.Attach(f)
	offer, err := peer.Offer()
	must(t, err)
	must(t, peer.Answer(change(client.answer(t, offer))))
	within(t, "connection", connected)
	within(t, "Bound", f.bound)

	return peer, d
}

// All that leaves on a line with retransmissions says when, by the client's identifier, in as many bytes as everything
// else.
func TestSendTimes(t *testing.T) {
	peer, d := timed(t, func(answer string) string {
		return strings.ReplaceAll(answer, "extmap:2 ", "extmap:9 ")
	})
	batch, sent := collect()
	for i := range 3 {
		must(t, d.WriteRTP(batch, &media.Outgoing{SequenceNumber: uint16(i), SendTime: 0x010203 + uint32(i),
			Payload: []byte("payload"), Padding: 3}))
	}
	must(t, d.ResendRTP(batch, &media.Outgoing{SequenceNumber: 1, SendTime: 0xffffff, Payload: []byte("payload"),
		Padding: 3}))
	batch.Flush()
	for i, packet := range opened(t, peer, *sent) {
		want := []uint32{0x010203, 0x010204, 0x010205, 0xffffff}[i]
		value := packet.GetExtension(9)
		if len(value) != 3 || binary.BigEndian.Uint32(append([]byte{0}, value...)) != want ||
			len(packet.GetExtensionIDs()) != 1 {
			t.Errorf("packet %d says %x, want %#x", i, value, want)
		}
		if payload := strings.TrimPrefix(string(packet.Payload), "\x00\x01"); payload != "payload" {
			t.Errorf("packet %d has the payload %q", i, packet.Payload)
		}
		if size := len((*sent)[i]); i < 3 && size != len((*sent)[0]) {
			t.Errorf("packet %d has %d bytes, the one before %d: they would not leave as one", i, size, len((*sent)[0]))
		}
	}
}

// Where a packet is sent again under its own number, nothing says when: the same number is the same packet.
func TestNoSendTimeWithoutRetransmissionStream(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"no retransmissions": func(answer string) string {
			answer = strings.ReplaceAll(answer, "SAVPF 96 97\r\n", "SAVPF 96\r\n")
			answer = strings.ReplaceAll(answer, "a=rtpmap:97 rtx/90000\r\n", "")

			return strings.ReplaceAll(answer, "a=fmtp:97 apt=96\r\n", "")
		},
		"not wanted":     func(answer string) string { return strings.ReplaceAll(answer, "extmap:2 ", "extmap:2/sendonly ") },
		"unknown":        func(answer string) string { return strings.ReplaceAll(answer, "abs-send-time", "something") },
		"a long header":  func(answer string) string { return strings.ReplaceAll(answer, "extmap:2 ", "extmap:15 ") },
		"no such number": func(answer string) string { return strings.ReplaceAll(answer, "extmap:2 ", "extmap:0 ") },
	} {
		t.Run(name, func(t *testing.T) {
			peer, d := timed(t, change)
			batch, sent := collect()
			for i := range 2 {
				must(t, d.WriteRTP(batch, &media.Outgoing{SequenceNumber: 7 + uint16(i), SendTime: 5, Payload: []byte("payload")}))
			}
			must(t, d.ResendRTP(batch, &media.Outgoing{SequenceNumber: 7, SendTime: 9, Payload: []byte("payload")}))
			batch.Flush()
			if d.binding.Load().rtx.ssrc == 0 {
				if !bytes.Equal((*sent)[0], (*sent)[2]) {
					t.Error("the same number is another packet")
				}
				*sent = (*sent)[:2]
			}
			for i, packet := range opened(t, peer, *sent) {
				if packet.Extension {
					t.Errorf("packet %d has an extension", i)
				}
			}
		})
	}
}

// Padding goes out on the stream of retransmissions alone, among them, and says when.
func TestPaddingOnTheRetransmissionStream(t *testing.T) {
	peer, d := timed(t, func(answer string) string { return answer })
	batch, sent := collect()
	packet := &media.Outgoing{SequenceNumber: 7, Timestamp: 90_000, SendTime: 0x010203, Marker: true,
		Payload: []byte("payload")}
	if !d.TakesPadding() {
		t.Error("it is said to take no padding")
	}
	must(t, d.ResendRTP(batch, packet))
	must(t, d.WritePadding(batch, packet, 255))
	must(t, d.WritePadding(batch, packet, 3))
	must(t, d.ResendRTP(batch, packet))
	batch.Flush()
	for i, packet := range opened(t, peer, *sent) {
		if packet.SSRC != d.rtxSSRC || packet.PayloadType != 97 || packet.SequenceNumber != uint16(i) ||
			packet.Timestamp != 90_000 ||
			!bytes.Equal(packet.GetExtension(2), []byte{1, 2, 3}) {
			t.Errorf("packet %d is %v", i, packet)
		}
		if size := []byte{0, 255, 3, 0}[i]; packet.PaddingSize != size || size != 0 &&
			(len(packet.Payload) != 0 || packet.Marker) {
			t.Errorf("packet %d has %d bytes of padding, want %d, and the payload %q", i, packet.PaddingSize, size,
				packet.Payload)
		}
	}
}

// Who is not told when packets leave has no use for padding.
func TestNoPaddingWithoutSendTimes(t *testing.T) {
	_, d := timed(t, func(answer string) string { return strings.ReplaceAll(answer, "abs-send-time", "something") })
	batch, sent := collect()
	if d.TakesPadding() {
		t.Error("it is said to take padding")
	}
	if err := d.WritePadding(batch, &media.Outgoing{}, 255); !errors.Is(err, ErrNotBound) {
		t.Error(err)
	}
	if batch.Flush(); len(*sent) != 0 {
		t.Errorf("%d packets left", len(*sent))
	}
}
