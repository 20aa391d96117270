package fanout_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/pion/rtp"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// A frame as libwebrtc cuts it leaves in equal sizes, to every receiver; and what is
// sent again, from a burst of the same numbers or a later one, is the same bytes.
func TestPaddingIsPartOfThePacket(t *testing.T) {
	for name, test := range map[string]struct {
		off  bool
		want []int
	}{
		"on":  {false, []int{112, 112, 112, 105}},
		"off": {true, []int{111, 110, 112, 105}},
	} {
		t.Run(name, func(t *testing.T) {
			track := fanout.NewTrack(fanout.Config{Kind: media.Video, Inspect: inspect, NoPadding: test.off})
			var sent network
			b := udp.NewBatch(0, sent.send)
			pr := track.Project(&wire{ssrc: 1}, 0)
			payload := func(size int) string { return "K" + string(make([]byte, size-13)) }
			track.ReceiveRTP(b, []media.Received{
				packet(1, payload(111), false), packet(2, payload(110), false), packet(3, payload(112), false),
				packet(4, payload(105), true),
			})
			b.Flush()
			var sizes []int
			for _, d := range sent.datagrams {
				sizes = append(sizes, len(d))
				var p rtp.Packet
				if err := p.Unmarshal(d); err != nil || p.Payload[0] != 'K' {
					t.Errorf("%x: %v", d, err)
				}
			}
			if !slices.Equal(sizes, test.want) {
				t.Errorf("sizes %v, want %v", sizes, test.want)
			}
			// Its copy, together with a larger packet of the same time, changes nothing.
			large := packet(5, payload(113), false)
			track.ReceiveRTP(b, []media.Received{packet(2, payload(110), false), large, packet(4, payload(105), false), large})
			b.Flush()
			pr.ReceiveNACK(b, sent.numbers(1))
			b.Flush()
			if n := len(sent.datagrams); n != 10 {
				t.Fatalf("%d packets sent, want 5 and 5 again", n)
			}
			for i, d := range sent.datagrams[:5] {
				if !bytes.Equal(d, sent.datagrams[5+i]) {
					t.Errorf("%x was sent again as %x", d, sent.datagrams[5+i])
				}
			}
		})
	}
}
