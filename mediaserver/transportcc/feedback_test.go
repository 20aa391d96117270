package transportcc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// came is what a sender learns of one number.
type came struct {
	number uint16
	at     time.Duration // from when reference times count; -1: it has not come
}

// read reads feedback packets as Pion does, so that what is written is what somebody else understands.
func read(t testing.TB, packets ...[]byte) (all []came) {
	t.Helper()
	for _, packet := range packets {
		var feedback rtcp.TransportLayerCC
		if err := feedback.Unmarshal(packet); err != nil {
			t.Fatalf("%v: % x", err, packet)
		}
		if len(packet) > MaxFeedbackBytes || len(packet)%4 != 0 || len(packet) != int(feedback.Header.Length+1)*4 {
			t.Fatalf("%d bytes, its length says %d words", len(packet), feedback.Header.Length)
		}
		var statuses []uint16
		for _, chunk := range feedback.PacketChunks {
			switch chunk := chunk.(type) {
			case *rtcp.RunLengthChunk:
				for range chunk.RunLength {
					statuses = append(statuses, chunk.PacketStatusSymbol)
				}
			case *rtcp.StatusVectorChunk:
				statuses = append(statuses, chunk.SymbolList...)
			}
		}
		if len(statuses) < int(feedback.PacketStatusCount) {
			t.Fatalf("%d statuses of %d", len(statuses), feedback.PacketStatusCount)
		}
		at := time.Duration(feedback.ReferenceTime) * 64 * time.Millisecond
		for i, s := range statuses[:feedback.PacketStatusCount] {
			c := came{number: feedback.BaseSequenceNumber + uint16(i), at: -1}
			if s != rtcp.TypeTCCPacketNotReceived {
				at += time.Duration(feedback.RecvDeltas[0].Delta) * time.Microsecond
				c.at = at
				feedback.RecvDeltas = feedback.RecvDeltas[1:]
			}
			all = append(all, c)
		}
		if len(feedback.RecvDeltas) != 0 {
			t.Fatalf("%d deltas are left over", len(feedback.RecvDeltas))
		}
	}

	return all
}

// feedback is all that waits.
func feedback(a *Arrivals) (packets [][]byte) {
	for a.Waiting() > 0 {
		packets = append(packets, a.AppendFeedback(nil, 1, 2))
	}

	return packets
}

// arrival is one call of Record.
type arrival struct {
	number uint16
	ms     float64
}

func (a arrival) at() time.Duration { return time.Duration(a.ms * float64(time.Millisecond)) }

func record(a *Arrivals, arrivals ...arrival) {
	for _, r := range arrivals {
		a.Record(r.number, r.at())
	}
}

// story tells which numbers came, and how many ms after the first of them.
func story(all []came) string {
	var words []string
	first := time.Duration(-1)
	for _, c := range all {
		if c.at < 0 {
			words = append(words, fmt.Sprint(c.number))

			continue
		}
		if first < 0 {
			first = c.at
		}
		words = append(words, fmt.Sprintf("%d@%v", c.number, float64(c.at-first)/float64(time.Millisecond)))
	}

	return strings.Join(words, " ")
}

func TestFeedback(t *testing.T) {
	for name, c := range map[string]struct {
		before []arrival // of which feedback was given
		arrive []arrival
		want   string
	}{
		"in order":              {nil, []arrival{{7, 10}, {8, 10}, {9, 13.25}}, "7@0 8@0 9@3.25"},
		"nothing is told twice": {[]arrival{{7, 10}}, []arrival{{8, 11}}, "8@0"},
		"a gap":                 {nil, []arrival{{7, 10}, {10, 11}}, "7@0 8 9 10@1"},
		"a gap since the last":  {[]arrival{{7, 10}}, []arrival{{9, 11}}, "8 9@0"},
		"reordered":             {nil, []arrival{{7, 10}, {9, 11}, {8, 12}}, "7@0 8@2 9@1"},
		"late":                  {[]arrival{{7, 10}, {9, 11}}, []arrival{{8, 12}}, "8@0 9@-1"},
		"before the first":      {nil, []arrival{{7, 10}, {5, 11}}, "5@0 6 7@-1"},
		"a second time":         {nil, []arrival{{7, 10}, {7, 11}, {8, 12}, {7, 13}}, "7@0 8@2"},
		"numbers wrap around":   {nil, []arrival{{65534, 10}, {0, 11}, {65535, 12}}, "65534@0 65535@2 0@1"},
		"long after":            {nil, []arrival{{7, 10}, {8, 74}, {9, 8000}}, "7@0 8@64 9@7990"},
		"a lie":                 {[]arrival{{7, 10}}, []arrival{{30_007, 11}, {8, 12}}, "8@0"},
		"a lie about the past":  {[]arrival{{7, 10}}, []arrival{{40_007, 11}, {8, 12}}, "8@0"},
		"a new beginning":       {[]arrival{{7, 10}}, []arrival{{40_007, 11}, {40_008, 12}, {40_009, 13}}, "40008@0 40009@1"},
		"a window was lost":     {[]arrival{{7, 10}}, []arrival{{1031, 11}, {1032, 12}}, "1032@0"},
	} {
		t.Run(name, func(t *testing.T) {
			var a Arrivals
			record(&a, c.before...)
			feedback(&a)
			record(&a, c.arrive...)
			if got := story(read(t, feedback(&a)...)); got != c.want {
				t.Errorf("feedback says %s, want %s", got, c.want)
			}
			if more := a.AppendFeedback(nil, 1, 2); len(more) != 0 {
				t.Errorf("and then, of nothing, % x", more)
			}
		})
	}
}

// Feedback byte by byte, as section 3.1 of the draft draws it.
func TestFeedbackBytes(t *testing.T) {
	var a Arrivals
	a.count = 0xfe
	record(&a, arrival{0xfffe, 64}, arrival{0, 64.5}, arrival{1, 128.5}, arrival{2, 128.25})
	a.AppendFeedback(nil, 0, 0)
	for n := range uint16(20) {
		record(&a, arrival{3 + n, 129 + float64(n)})
	}
	record(&a, arrival{25, 300})
	got := a.AppendFeedback([]byte("before"), 0x01020304, 0x05060708)
	want := append([]byte("before"), 0xaf, 205, 0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 0, 3, 0, 23, 0, 0, 2, 0xff,
		1<<5, 20, // a run of 20 small deltas
		0xc0|0b000010, 0) // two bits each: two that have not come, a large delta
	want = append(want, 5)
	for range 19 {
		want = append(want, 4)
	}
	want = append(want, 0x02, 0x60, // 608 ticks
		0, 2) // two bytes of padding
	if !slices.Equal(got, want) {
		t.Errorf("feedback\n% x, want\n% x", got, want)
	}
}
