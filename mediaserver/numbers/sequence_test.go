package numbers_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/nagi-rtc/nagi/mediaserver/numbers"
)

func TestSequence(t *testing.T) {
	type packet struct {
		ssrc      uint32
		number    uint16
		ok        bool
		extended  uint64
		newest    bool
		restarted bool
	}
	for name, packets := range map[string][]packet{
		"wraps, late across the wrap": {
			{1, 65534, true, 1<<16 + 65534, true, false}, {1, 1, true, 2<<16 + 1, true, false},
			{1, 65535, true, 1<<16 + 65535, false, false}, {1, 0, true, 2 << 16, false, false},
		},
		"late packets before the first": {
			{1, 2, true, 1<<16 + 2, true, false}, {1, 65533, true, 1<<16 - 3, false, false},
		},
		"the largest dropout and lateness": {
			{1, 5000, true, 1<<16 + 5000, true, false}, {1, 7999, true, 1<<16 + 7999, true, false},
			{1, 6976, true, 1<<16 + 6976, false, false}, {1, 6975, false, 0, false, false},
		},
		"one stray number is no new run": {
			{1, 100, true, 1<<16 + 100, true, false}, {1, 30000, false, 0, false, false},
			{1, 101, true, 1<<16 + 101, true, false}, {1, 30001, false, 0, false, false},
		},
		"two in order are": {
			{1, 100, true, 1<<16 + 100, true, false}, {1, 50, true, 1<<16 + 50, false, false},
			{1, 40000, false, 0, false, false}, {1, 40001, true, 3<<16 + 40001, true, true},
			{1, 40002, true, 3<<16 + 40002, true, false},
		},
		"and so is each one after that": {
			{1, 100, true, 1<<16 + 100, true, false}, {2, 9, true, 3<<16 + 9, true, true}, {3, 7, true, 5<<16 + 7, true, true},
		},
		"hazard 12: a new SSRC is believed at once": {
			{1, 100, true, 1<<16 + 100, true, false}, {2, 9, true, 3<<16 + 9, true, true},
			{2, 10, true, 3<<16 + 10, true, false},
			// A straggler of the SSRC just left changes nothing; two in order do.
			{1, 101, false, 0, false, false}, {2, 11, true, 3<<16 + 11, true, false},
			{1, 200, false, 0, false, false}, {1, 201, true, 5<<16 + 201, true, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := numbers.Sequence{}
			for i, p := range packets {
				var n numbers.Number
				var ok bool
				s, n, ok = s.Receive(p.ssrc, p.number)
				if want := (numbers.Number{Extended: p.extended, Newest: p.newest, Restarted: p.restarted}); ok != p.ok ||
					n != want {
					t.Fatalf("packet %d: %+v, %v; want %+v, %v", i, n, ok, want, p.ok)
				}
			}
		})
	}
}

// TestSequenceInvariants: whatever order a network makes of a sender's packets, each
// gets its own extended number, whose low half is the sender's.
func TestSequenceInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := numbers.Sequence{}
		var highest uint64
		number := rapid.Uint16().Draw(t, "first")
		for range rapid.IntRange(1, 60).Draw(t, "packets") {
			number += uint16(rapid.SampledFrom([]int{1, 1, 1, 2, 2999, 65535, 64600, 30000}).Draw(t, "by"))
			next, n, ok := s.Receive(uint32(rapid.SampledFrom([]int{1, 1, 1, 1, 2}).Draw(t, "ssrc")), number)
			s = next
			switch {
			case !ok:
				continue
			case uint16(n.Extended) != number:
				t.Fatalf("%d became %d", number, n.Extended)
			case n.Newest != (n.Extended > highest):
				t.Fatalf("%d after %d: newest %v", n.Extended, highest, n.Newest)
			case n.Restarted && n.Extended <= highest+numbers.MaxMisorder:
				t.Fatalf("a new run at %d after %d", n.Extended, highest)
			case !n.Restarted && highest != 0 && n.Extended+numbers.MaxMisorder <= highest:
				t.Fatalf("%d is later than allowed after %d", n.Extended, highest)
			}
			highest = max(highest, n.Extended)
		}
	})
}
