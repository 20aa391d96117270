package fanout_test

import (
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Layers in time, and VP9's layers in size on one SSRC, go whole; a stream begins with the lowest one of a keyframe,
// never with a higher one of it.
func TestLayersOnOneSSRCGoWhole(t *testing.T) {
	track := fanout.NewTrack(fanout.Config{Kind: media.Video, Inspect: codecs.VP9.Inspect})
	defer track.Close()
	sink := &recorder{}
	pr := track.Project(sink, 0)
	number := uint64(0)
	// The second byte has the layer in time, in size, and whether it needs the one below (RFC 9628 section 4.2).
	picture := func(keyframe bool, inTime byte) (packets []media.Received) {
		for inSize := range byte(3) {
			flags := byte(0x2c) // layers are told; begins and ends a frame
			if !keyframe {
				flags |= 0x40
			}
			descriptor := []byte{flags, inTime<<5 | inSize<<1 | min(inSize, 1), 0, 'x'}
			packets = append(packets, packet(number, string(descriptor), inSize == 2))
			number++
		}

		return packets
	}
	wantAll := func(what string, want int) {
		t.Helper()
		numbers, _ := sink.got()
		if wantContiguous(t, numbers); len(numbers) != want {
			t.Errorf("%s: %d packets, want %d", what, len(numbers), want)
		}
	}
	track.ReceiveRTP(batch(), picture(false, 1))
	track.ReceiveRTP(batch(), picture(true, 0)[1:]) // Its lowest layer is lost.
	wantAll("before a start", 0)
	track.ReceiveRTP(batch(), picture(true, 0))
	for inTime := range byte(3) {
		track.ReceiveRTP(batch(), picture(false, inTime))
	}
	wantAll("a keyframe and three pictures", 12)

	fanout.Apply([]fanout.Change{pause(pr)})
	track.ReceiveRTP(batch(), picture(true, 0)[:1])
	fanout.Apply([]fanout.Change{resume(pr)})
	track.ReceiveRTP(batch(), picture(true, 0)[1:])
	wantAll("after a resume within a keyframe", 12)
	track.ReceiveRTP(batch(), picture(true, 0))
	wantAll("after the next keyframe", 15)
}
