package fanout_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// TestNoNumberCarriesTwoContents: whatever the network, the sender, its receiver's choices
// and pauses do, no sequence number of a stream that resends go out on ever leaves with two
// contents: AES-GCM would give away its key (RFC 7714 section 8.1). And nothing leaves while
// the projection is paused.
func TestNoNumberCarriesTwoContents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent network
		b := udp.NewBatch(0, sent.send)
		track := fanout.NewTrack(fanout.Config{Kind: media.Video, Inspect: codecs.VP8.Inspect,
			RequestKeyframe: func(media.Layers) {}})
		defer track.Close()
		pr := track.Project(&wire{ssrc: 1}, 0)
		next := [media.MaxLayers]uint64{numbers.Apart - 3, 2*numbers.Apart - 3, 3*numbers.Apart - 3}
		ssrcs := [media.MaxLayers]uint32{1, 2, 3}
		var waiting []media.Received
		var picture, clock uint16
		paused := false
		contents := make(map[uint64][]byte)
		highest := uint64(1 << 16)
		check := func(t *rapid.T) {
			b.Flush()
			for _, d := range sent.datagrams {
				if paused {
					t.Fatalf("%x left while the projection was paused", d)
				}
				number := highest + uint64(int64(int16(binary.BigEndian.Uint16(d[2:])-uint16(highest))))
				highest = max(highest, number)
				if before, again := contents[number]; again && !bytes.Equal(before, d) {
					t.Fatalf("number %d left as %x and as %x", number, before, d)
				}
				contents[number] = d
			}
			sent.datagrams = nil
		}
		anyLayer := func(t *rapid.T) media.Layer { return media.Layer(rapid.IntRange(0, 2).Draw(t, "layer")) }
		t.Repeat(map[string]func(*rapid.T){
			"": check,
			"send a frame": func(t *rapid.T) {
				layer := anyLayer(t)
				key := byte(rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "delta"))
				picture, clock = picture+1, clock+3000
				n := rapid.IntRange(1, 3).Draw(t, "packets")
				for i := range n {
					descriptor := byte(0x80)
					if i == 0 {
						descriptor |= 0x10
					}
					payload := append([]byte{descriptor, 0xc0, 0x80 | byte(picture>>8)&0x7f, byte(picture), byte(picture), key},
						make([]byte, i)...)
					waiting = append(waiting, media.Received{
						Layer: layer, SSRC: ssrcs[layer], SequenceNumber: next[layer], Timestamp: uint32(clock), Marker: i == n-1,
						Payload: payload,
					})
					next[layer] += uint64(rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "by"))
				}
			},
			"receive": func(t *rapid.T) {
				if len(waiting) == 0 {
					t.Skip("nothing on its way")
				}
				i := min(len(waiting)-1, rapid.SampledFrom([]int{0, 0, 0, 1, 4}).Draw(t, "overtakes"))
				n := rapid.IntRange(i+1, len(waiting)).Draw(t, "burst")
				track.ReceiveRTP(b, waiting[i:n])
				waiting = append(waiting[:i], waiting[n:]...)
			},
			"ask again": func(t *rapid.T) {
				back := rapid.IntRange(0, 12).Draw(t, "back")
				pr.ReceiveNACK(b, []uint16{uint16(highest) - uint16(back), uint16(highest) - uint16(back) + 1})
			},
			"choose": func(t *rapid.T) { pr.Choose(anyLayer(t)) },
			"pause": func(t *rapid.T) {
				check(t)
				fanout.Apply([]fanout.Change{pause(pr)})
				paused = true
			},
			"resume": func(t *rapid.T) {
				check(t)
				fanout.Apply([]fanout.Change{resume(pr)})
				paused = false
			},
			"begin anew": func(t *rapid.T) {
				layer := anyLayer(t)
				next[layer] = (next[layer]>>16+2)<<16 + uint64(rapid.Uint16().Draw(t, "number"))
				ssrcs[layer] += 10
				waiting = nil
			},
		})
	})
}
