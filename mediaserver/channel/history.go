package channel

import (
	"cmp"
	"slices"
)

// minHistory is how many changes are kept at least.
const minHistory = 64

// history holds the last of what happened, by the numbers of the changes. Whoever
// asks from further back gets everything, which is no more work when a history is
// bounded by the size of what it is about.
type history[T any] struct {
	entries []entry[T]
	// lost is the number of the last change that is not held whole.
	lost uint64
}

type entry[T any] struct {
	number uint64
	what   T
}

// add adds to a change; numbers do not go down. About as many as bound are kept.
func (h *history[T]) add(number uint64, what T, bound int) {
	if bound = max(bound, minHistory); len(h.entries) >= 2*bound {
		cut := len(h.entries) - bound
		h.lost = h.entries[cut-1].number
		h.entries = slices.Clone(h.entries[cut:])
	}
	h.entries = append(h.entries, entry[T]{number, what})
}

// since returns what happened after the change with the number; false when not all
// of that is held.
func (h *history[T]) since(number uint64) ([]entry[T], bool) {
	if number < h.lost {
		return nil, false
	}
	from, _ := slices.BinarySearchFunc(h.entries, number, func(e entry[T], number uint64) int {
		if e.number <= number {
			return -1
		}

		return cmp.Compare(e.number, number)
	})

	return h.entries[from:], true
}
