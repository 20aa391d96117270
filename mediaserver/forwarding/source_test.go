package forwarding_test

import (
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

func TestSource(t *testing.T) {
	type packet struct {
		ssrc      uint32
		number    uint16
		timestamp uint32
		ok        bool
		extended  uint64
		mapped    uint32
		newest    bool
		restarted bool
	}
	for name, packets := range map[string][]packet{
		"wraps, late across the wrap": {
			{1, 65534, 10, true, 1<<16 + 65534, 10, true, false}, {1, 1, 20, true, 2<<16 + 1, 20, true, false},
			{1, 65535, 15, true, 1<<16 + 65535, 15, false, false}, {1, 0, 15, true, 2 << 16, 15, false, false},
		},
		"late packets before the first": {
			{1, 2, 10, true, 1<<16 + 2, 10, true, false}, {1, 65533, 10, true, 1<<16 - 3, 10, false, false},
		},
		"the largest dropout and lateness": {
			{1, 5000, 10, true, 1<<16 + 5000, 10, true, false}, {1, 7999, 10, true, 1<<16 + 7999, 10, true, false},
			{1, 6976, 10, true, 1<<16 + 6976, 10, false, false}, {1, 6975, 10, false, 0, 0, false, false},
		},
		"one stray number is no new run": {
			{1, 100, 10, true, 1<<16 + 100, 10, true, false}, {1, 30000, 10, false, 0, 0, false, false},
			{1, 101, 11, true, 1<<16 + 101, 11, true, false}, {1, 30001, 10, false, 0, 0, false, false},
		},
		"two in order are, on the same timeline": {
			{1, 100, 10, true, 1<<16 + 100, 10, true, false}, {1, 50, 900, true, 1<<16 + 50, 900, false, false},
			{1, 40000, 900, false, 0, 0, false, false}, {1, 40001, 901, true, 3<<16 + 40001, 901, true, true},
			{1, 40002, 902, true, 3<<16 + 40002, 902, true, false},
		},
		"hazard 12: a new SSRC goes on one second later, since one second went by": {
			{1, 100, 5000, true, 1<<16 + 100, 5000, true, false}, {2, 9, 1 << 31, true, 3<<16 + 9, 95000, true, true},
			{2, 10, 1<<31 + 3000, true, 3<<16 + 10, 98000, true, false},
			// A straggler of the SSRC just left changes nothing; two in order do.
			{1, 101, 8000, false, 0, 0, false, false}, {2, 11, 1<<31 + 6000, true, 3<<16 + 11, 101000, true, false},
			{1, 200, 8000, false, 0, 0, false, false}, {1, 201, 8000, true, 5<<16 + 201, 191000, true, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := forwarding.NewSource(media.Video)
			for i, p := range packets {
				var a forwarding.Arrival
				var ok bool
				s, a, ok = s.Receive(p.ssrc, p.number, p.timestamp, time.Second)
				if want := (forwarding.Arrival{SequenceNumber: p.extended, Timestamp: p.mapped, Newest: p.newest, Restarted: p.restarted}); ok != p.ok || a != want {
					t.Fatalf("packet %d: %+v, %v; want %+v, %v", i, a, ok, want, p.ok)
				}
			}
		})
	}
}

// Hazard 13: sender reports are moved by the offset of the packets.
func TestSenderReportsFollowTheTimeline(t *testing.T) {
	s := forwarding.NewSource(media.Audio)
	s, _, _ = s.Receive(1, 1, 4_294_967_000, 0)
	s, a, _ := s.Receive(2, 1, 77, 20*time.Millisecond)
	if want := uint32(4_294_967_000 + 960 - 1<<32); a.Timestamp != want || s.Timestamp(77) != want {
		t.Errorf("timestamps %d and %d, want %d", a.Timestamp, s.Timestamp(77), want)
	}
}
