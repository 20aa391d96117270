package fanout_test

import (
	"bytes"
	"testing"

	"github.com/pion/rtp"

	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// Whatever parses as RTP, be its padding, extension and list of CSRCs as they like,
// leaves with our header and its own payload, timestamp and marker; alone or before
// a longer packet of the same frame; and is the same when it is sent again.
func FuzzRewriteHeader(f *testing.F) {
	for _, datagram := range [][]byte{
		{},
		{0x80},
		{0x80, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 'K'},
		{0x80, 0xe0, 0xff, 0xff, 0, 0, 0, 2, 0, 0, 0, 3, 'K', 'x'},
		{0xa0, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 3},                // padding alone
		{0xa0, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 'K', 9},                 // more padding than packet
		{0xa0, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 'K', 0},                 // padding of no length
		{0x8f, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 'K'},                    // CSRCs cut off
		{0x81, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 'K'},        // one CSRC
		{0x90, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xbe, 0xde, 0xff, 0xff}, // extension cut off
		{0x90, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xbe, 0xde, 0, 1, 0x1f, 0, 0, 0, 'K'},
		{0x90, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0x10, 0, 0, 1, 1, 9, 0, 0, 'K'},
	} {
		f.Add(datagram, uint8(0))
		f.Add(datagram, uint8(1))
	}
	var sent network
	b := udp.NewBatch(0, sent.send)
	f.Fuzz(func(t *testing.T, datagram []byte, longer uint8) {
		var in rtp.Packet
		if in.Unmarshal(datagram) != nil || len(datagram) > 1200 {
			return
		}
		first := media.Received{
			SSRC: in.SSRC, SequenceNumber: numbers.Apart + uint64(in.SequenceNumber),
			Timestamp: in.Timestamp, Marker: in.Marker, Payload: in.Payload,
		}
		burst := []media.Received{first, first}
		if longer != 0 {
			second := first
			second.SequenceNumber++
			second.Payload = append(bytes.Clone(in.Payload), make([]byte, longer)...)
			burst = append(burst, second)
		}
		sent.datagrams = nil
		track := newVideo(t, func() {})
		defer track.Close()
		pr := track.Project(&wire{ssrc: 1}, 0)
		track.ReceiveRTP(b, burst)
		b.Flush()
		if !inspect(in.Payload).KeyframeStart {
			if len(sent.datagrams) != 0 {
				t.Fatalf("%x was forwarded before a keyframe", datagram)
			}

			return
		}
		if len(sent.datagrams) != len(burst)-1 {
			t.Fatalf("%x was forwarded %d times", datagram, len(sent.datagrams))
		}
		var out rtp.Packet
		if err := out.Unmarshal(sent.datagrams[0]); err != nil {
			t.Fatalf("%x became %x: %v", datagram, sent.datagrams[0], err)
		}
		if out.Timestamp != in.Timestamp || out.Marker != in.Marker ||
			out.Extension || len(out.CSRC) != 0 || !bytes.Equal(out.Payload, in.Payload) {
			t.Errorf("%x became %+v", datagram, out)
		}
		if last, ok := pr.LastSequenceNumber(); !ok || last != out.SequenceNumber+uint16(len(burst)-2) {
			t.Errorf("last number %d after %d", last, out.SequenceNumber)
		}
		pr.ReceiveNACK(b, []uint16{out.SequenceNumber})
		b.Flush()
		if again := sent.datagrams[len(sent.datagrams)-1]; !bytes.Equal(again, sent.datagrams[0]) {
			t.Errorf("%x was sent again as %x", sent.datagrams[0], again)
		}
	})
}
