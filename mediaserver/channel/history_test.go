package channel

import (
	"testing"

	"pgregory.net/rapid"
)

// TestHistoryIsTheWholeTailOrNothing: whoever is answered gets every change since,
// and whoever was there a moment ago is answered.
func TestHistoryIsTheWholeTailOrNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h history[int]
		var all []entry[int]
		number := uint64(0)
		bound := rapid.IntRange(0, 100).Draw(t, "bound")
		for i := range rapid.IntRange(0, 600).Draw(t, "entries") {
			if i == 0 || rapid.IntRange(0, 3).Draw(t, "another change") > 0 {
				number++
			}
			h.add(number, i, bound)
			all = append(all, entry[int]{number, i})
		}
		since := rapid.Uint64Range(0, number+1).Draw(t, "since")
		got, held := h.since(since)
		var want []entry[int]
		for _, e := range all {
			if e.number > since {
				want = append(want, e)
			}
		}
		if !held {
			if len(want) <= minHistory {
				t.Errorf("only %d entries were asked for, and they are lost", len(want))
			}

			return
		}
		if len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
			t.Errorf("since %d there are %d entries, want %d", since, len(got), len(want))
		}
		if len(h.entries) > 2*max(bound, minHistory) {
			t.Errorf("%d entries are held", len(h.entries))
		}
	})
}
