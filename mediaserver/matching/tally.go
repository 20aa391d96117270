package matching

import "math/bits"

// tally counts connections and knows whether all of them are of one bundle, at a
// cost that does not depend on their number. Members of one bundle have no edges
// among them, and neither has a connection with itself, which is a bundle of its
// own where it has no other. So a pause matches an edge if, and only if, both its
// sides name somebody and not all of these are of one bundle.
type tally struct {
	count uint64
	// sum and squares are those of the bundles' numbers. Numbers are all equal if,
	// and only if, they have no variance: count*squares == sum*sum.
	sum, squares uint64
}

func (t *tally) add(bundle uint64) {
	t.count++
	t.sum += bundle
	t.squares += bundle * bundle
}

func (t *tally) remove(bundle uint64) {
	t.count--
	t.sum -= bundle
	t.squares -= bundle * bundle
}

func (t tally) plus(other tally) tally {
	return tally{t.count + other.count, t.sum + other.sum, t.squares + other.squares}
}

func (t tally) minus(other tally) tally {
	return tally{t.count - other.count, t.sum - other.sum, t.squares - other.squares}
}

// oneBundle computes exactly: products have 128 bits, and the numbers of bundles
// are small, because those that are given up are given out again.
func (t tally) oneBundle() bool {
	leftHigh, leftLow := bits.Mul64(t.count, t.squares)
	rightHigh, rightLow := bits.Mul64(t.sum, t.sum)

	return leftHigh == rightHigh && leftLow == rightLow
}

// bundle names a bundle: by its id, or by the connection where it has none.
type bundle struct{ id, connection string }

// bundles gives each bundle that has members a number.
type bundles struct {
	known map[bundle]*numbered
	free  []uint64
	next  uint64
}

type numbered struct {
	number  uint64
	members int
}

func (b *bundles) join(name bundle) uint64 {
	n := b.known[name]
	if n == nil {
		n = &numbered{number: b.next}
		if last := len(b.free) - 1; last >= 0 {
			n.number, b.free = b.free[last], b.free[:last]
		} else {
			b.next++
		}
		b.known[name] = n
	}
	n.members++

	return n.number
}

func (b *bundles) leave(name bundle) {
	n := b.known[name]
	if n.members--; n.members == 0 {
		delete(b.known, name)
		b.free = append(b.free, n.number)
	}
}
