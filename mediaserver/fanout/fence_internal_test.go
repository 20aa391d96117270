package fanout

import (
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// numbered is a receiver that keeps sequence numbers.
type numbered struct{ numbers []uint16 }

func (*numbered) Worker() int { return 0 }

func (n *numbered) WriteRTP(_ *udp.Batch, p *media.Outgoing) error {
	n.numbers = append(n.numbers, p.SequenceNumber)

	return nil
}

func (n *numbered) ResendRTP(*udp.Batch, *media.Outgoing) error { return nil }

func (*numbered) WritePadding(*udp.Batch, *media.Outgoing, uint8) error { return nil }

func (*numbered) WriteSenderReport(*udp.Batch, uint64, uint32, uint32, uint32) error { return nil }

func (*numbered) SSRC() uint32 { return 1 }

// A pause and a resume of two goroutines, both of which have swapped the snapshot while
// neither has come to the projection yet: the projection was out of the snapshot, so
// the walk that comes first must not go on where the projection was.
func TestWalkComesAheadOfTwoChanges(t *testing.T) {
	track := NewTrack(Config{Kind: media.Video,
		Inspect: func(payload []byte) codecs.Facts { return codecs.Facts{KeyframeStart: payload[0] == 'K'} }})
	sink, batch := &numbered{}, udp.NewBatch(0, nil)
	pr := track.Project(sink, 0)
	receive := func(ssrc uint32, number uint64, payload string) {
		track.ReceiveRTP(batch, []media.Received{{SSRC: ssrc, SequenceNumber: uint64(ssrc)<<17 + number, Marker: true,
			Payload: []byte(payload)}})
	}
	receive(1, 1, "K")
	track.cut([]Change{{Projection: pr, Withhold: forwarding.Paused}})
	receive(2, 20_000, "K") // a new run, which the projection does not see
	track.release([]Change{{Projection: pr, Release: forwarding.Paused}})
	receive(2, 20_001, "d")
	receive(2, 20_002, "d")
	if len(sink.numbers) != 1 {
		t.Fatalf("packets %v were forwarded before a keyframe", sink.numbers[1:])
	}
	receive(2, 20_003, "K")
	if len(sink.numbers) != 2 || sink.numbers[1] != sink.numbers[0]+1 {
		t.Errorf("numbers %v, want two in a row", sink.numbers)
	}
}
