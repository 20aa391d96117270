package fanout_test

import (
	"bytes"
	"testing"

	"github.com/pion/rtp"
)

// rewriter is a receiver that writes whole RTP packets, as the transport does.
type rewriter struct {
	t       *testing.T
	packets []rtp.Packet
}

func (r *rewriter) WriteRTP(sequenceNumber uint16, timestamp uint32, marker bool, payload []byte) error {
	datagram, err := (&rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: sequenceNumber, Timestamp: timestamp, Marker: marker, SSRC: 1},
		Payload: payload,
	}).Marshal()
	if err != nil {
		return err
	}
	var p rtp.Packet
	if err := p.Unmarshal(datagram); err != nil {
		r.t.Errorf("%x was rewritten to %x: %v", payload, datagram, err)
	}
	r.packets = append(r.packets, p)
	return nil
}

func (r *rewriter) WriteSenderReport(uint64, uint32, uint32, uint32) error { return nil }

func (r *rewriter) SSRC() uint32 { return 1 }

// Whatever parses as RTP, be its padding, extension and list of CSRCs as they like,
// leaves with our header and its own payload, timestamp and marker.
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
		f.Add(datagram)
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		var in rtp.Packet
		if in.Unmarshal(datagram) != nil {
			return
		}
		track, sink := newVideo(t, func() {}), &rewriter{t: t}
		e := track.AddEdge(sink, 0)
		track.ReceiveRTP([]*rtp.Packet{&in, &in})
		if !startsKeyframe(in.Payload) {
			if len(sink.packets) != 0 {
				t.Fatalf("%x was forwarded before a keyframe", datagram)
			}
			return
		}
		if len(sink.packets) != 1 {
			t.Fatalf("%x was forwarded %d times", datagram, len(sink.packets))
		}
		out := sink.packets[0]
		last, ok := e.LastSequenceNumber()
		if !ok || out.SequenceNumber != last || out.Timestamp != in.Timestamp || out.Marker != in.Marker ||
			out.Padding || out.Extension || len(out.CSRC) != 0 || !bytes.Equal(out.Payload, in.Payload) {
			t.Errorf("%x became %+v", datagram, out)
		}
	})
}
