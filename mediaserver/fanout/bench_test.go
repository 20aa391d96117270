package fanout_test

import (
	"fmt"
	"testing"

	"github.com/pion/rtp"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
)

// discard is a receiver that costs nothing, so that only this layer is measured.
type discard struct{}

func (discard) WriteRTP(uint16, uint32, bool, []byte) error { return nil }

func (discard) WriteSenderReport(uint64, uint32, uint32, uint32) error { return nil }

func (discard) SSRC() uint32 { return 1 }

// frames sends one burst of ten packets per call.
func frames(track *fanout.Track) func() {
	burst := make([]*rtp.Packet, 10)
	for i := range burst {
		burst[i] = packet(0, "K"+string(make([]byte, 1100)), i == 9)
	}
	var n uint16
	return func() {
		for _, p := range burst {
			p.SequenceNumber = n
			n++
		}
		track.ReceiveRTP(burst)
	}
}

func warm(track *fanout.Track, receivers int) (send func()) {
	for range receivers {
		track.AddEdge(discard{}, 0)
	}
	send = frames(track)
	for range 200 { // fills the store, whose memory is used again from then on
		send()
	}
	return send
}

func TestNoAllocationPerPacket(t *testing.T) {
	send := warm(newVideo(t, func() {}), 10)
	if n := testing.AllocsPerRun(1000, send); n != 0 {
		t.Errorf("%v allocations per burst, want 0", n)
	}
}

func BenchmarkTrackFanout(b *testing.B) {
	for _, receivers := range []int{10, 50} {
		b.Run(fmt.Sprintf("receivers=%d", receivers), func(b *testing.B) {
			send := warm(newVideo(b, func() {}), receivers)
			b.ReportAllocs()
			for b.Loop() {
				send()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*10*receivers), "ns/packet")
		})
	}
}
