package fanout

import (
	"slices"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
)

func TestEqualize(t *testing.T) {
	type packet struct {
		timestamp uint32
		size      int
		restarted bool
	}
	for name, test := range map[string]struct {
		packets []packet
		want    []uint8
	}{
		"nothing":               {nil, nil},
		"a frame of one packet": {[]packet{{1, 500, false}}, []uint8{0}},
		"one byte apart": {[]packet{{1, 1100, false}, {1, 1100, false}, {1, 1101, false}, {1, 1101, false}},
			[]uint8{1, 1, 0, 0}},
		"the last is smaller":     {[]packet{{1, 1101, false}, {1, 1100, false}, {1, 1099, false}}, []uint8{0, 1, 0}},
		"the last is the largest": {[]packet{{1, 1090, false}, {1, 1100, false}}, []uint8{10, 0}},
		"at most 16 bytes":        {[]packet{{1, 1084, false}, {1, 1083, false}, {1, 1100, false}}, []uint8{16, 0, 0}},
		"without payload":         {[]packet{{1, 0, false}, {1, 10, false}, {1, 9, false}}, []uint8{0, 0, 0}},
		"two frames": {[]packet{{1, 1100, false}, {1, 1101, false}, {2, 1104, false}, {2, 1105, false}},
			[]uint8{1, 0, 1, 0}},
		"a frame's rest after others": {[]packet{{1, 1100, false}, {2, 1101, false}, {1, 1102, false}}, []uint8{0, 0, 0}},
		"a new run":                   {[]packet{{1, 1100, false}, {1, 1101, true}, {1, 1102, false}}, []uint8{0, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var arrivals []arrival
			for _, p := range test.packets {
				arrivals = append(arrivals, arrival{
					packet:    forwarding.Packet{Timestamp: p.timestamp, Empty: p.size == 0},
					restarted: p.restarted, payload: make([]byte, p.size),
				})
			}
			padded := equalize(arrivals)
			var got []uint8
			for _, a := range arrivals {
				got = append(got, a.padding)
				if a.padding != 0 {
					padded--
				}
			}
			if !slices.Equal(got, test.want) || padded != 0 {
				t.Errorf("padding %v, want %v; %d too many counted", got, test.want, padded)
			}
		})
	}
}
