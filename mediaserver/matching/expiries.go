package matching

import (
	"cmp"
	"slices"
	"time"
)

// expiries are the rules that end, in the order of their ends. Those before now
// have expired: a wall clock that is set back gives some of them back.
type expiries struct {
	rules   []*rule
	expired int // how many have, of the first
}

func compareExpiry(a, b *rule) int {
	return cmp.Or(a.expires.Compare(b.expires), cmp.Compare(a.pause.GetUid(), b.pause.GetUid()))
}

// few rules are put in and taken out one by one, more of them all at once.
const few = 16

// replace takes rules out and puts others in; expired says of each whether it is.
func (e *expiries) replace(out, in []*rule) {
	out, in = ending(out), ending(in)
	if len(out) < few {
		for _, r := range out {
			at, _ := slices.BinarySearchFunc(e.rules, r, compareExpiry)
			e.rules = slices.Delete(e.rules, at, at+1)
		}
	} else {
		gone := make(map[*rule]struct{}, len(out))
		for _, r := range out {
			gone[r] = struct{}{}
		}
		e.rules = slices.DeleteFunc(e.rules, func(r *rule) bool {
			_, is := gone[r]

			return is
		})
	}
	if len(in) < few {
		for _, r := range in {
			at, _ := slices.BinarySearchFunc(e.rules, r, compareExpiry)
			e.rules = slices.Insert(e.rules, at, r)
		}
	} else {
		e.rules = append(e.rules, in...)
		slices.SortFunc(e.rules, compareExpiry)
	}
	e.expired += expired(in) - expired(out)
}

func ending(rules []*rule) []*rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r *rule) bool { return r.expires.IsZero() })
}

func expired(rules []*rule) int {
	n := 0
	for _, r := range rules {
		if r.expired {
			n++
		}
	}

	return n
}

// advance returns the rules of which expired is no longer right at the time now.
func (e *expiries) advance(now time.Time) []*rule {
	expired, _ := slices.BinarySearchFunc(e.rules, now, func(r *rule, now time.Time) int {
		if r.expiredAt(now) {
			return -1
		}

		return 1
	})
	changed := slices.Clone(e.rules[min(expired, e.expired):max(expired, e.expired)])
	e.expired = expired

	return changed
}

// next is when the next rule ends.
func (e *expiries) next() (time.Time, bool) {
	if e.expired == len(e.rules) {
		return time.Time{}, false
	}

	return e.rules[e.expired].expires, true
}
