package matching

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Survey is a Matcher's roster and the pauses of one kind that were in force at one
// moment. It changes no more, so that a long count needs no lock on the Matcher.
type Survey struct {
	members []*member
	rules   []*rule
}

// Survey keeps what Withheld needs.
func (m *Matcher) Survey(kind forwardingv1.Kind) *Survey {
	s := &Survey{members: make([]*member, 0, len(m.roster.byID)), rules: make([]*rule, 0, len(m.rules))}
	for _, c := range m.roster.byID {
		s.members = append(s.members, c)
	}
	for _, r := range m.rules {
		if r.acts() && r.kinds.Has(kind) {
			s.rules = append(s.rules, r)
		}
	}

	return s
}

// Withheld returns the live edges that some pause withholds, at most limit of
// them, ordered by their names, and how many there are.
//
// Each receiver's senders are a set of bits, one for each sender, since there may
// be a hundred million edges: the union over pauses takes 64 of them at a time.
// Pauses whose open receivers are the same stand beside these together.
func (s *Survey) Withheld(limit int) (edges []Edge, count uint64) {
	receivers, senders := s.split()
	byReceiver := newFinder(receivers)
	bySender := newFinder(senders)
	concerned := make([][]*named, len(receivers))
	alike := map[string]*named{}
	all := make([]named, len(s.rules))
	for i, r := range s.rules {
		n := &all[i]
		n.senders = bySender.find(&r.senders)
		if r.receivers.form == open {
			exceptions := fmt.Sprintf("%q %q", r.receivers.connections, r.receivers.clients)
			same, known := alike[exceptions]
			if !known {
				same = &named{bits: newBitSet(len(senders))}
				alike[exceptions] = same
			}
			n.unite(same.bits, len(senders))
			if known {
				continue
			}
			n = same
		}
		for _, at := range byReceiver.find(&r.receivers) {
			concerned[at] = append(concerned[at], n)
		}
	}

	union := newBitSet(len(senders))
	for at, list := range concerned {
		if len(list) == 0 {
			continue
		}
		union.clear()
		for _, n := range list {
			n.unite(union, len(senders))
		}
		for _, own := range bySender.byBundle[receivers[at].bundle] {
			union.remove(own)
		}
		count += uint64(union.count())
		union.each(func(sender int) bool {
			if len(edges) >= limit {
				return false
			}
			edges = append(edges, Edge{Receiver: receivers[at].id, Sender: senders[sender].id})

			return true
		})
	}

	return edges, count
}

// Counts returns how many live edges each pause withholds, those with most first;
// none that withholds none.
func (s *Survey) Counts() []*forwardingv1.PauseCount {
	receivers, senders := s.split()
	byReceiver, bySender := newFinder(receivers), newFinder(senders)
	var counts []*forwardingv1.PauseCount
	for _, r := range s.rules {
		edges := countLive(byReceiver.members(&r.receivers), bySender.members(&r.senders))
		if edges > 0 {
			counts = append(counts, &forwardingv1.PauseCount{Uid: r.pause.GetUid(), Edges: edges})
		}
	}
	slices.SortFunc(counts, func(a, b *forwardingv1.PauseCount) int {
		return cmp.Or(cmp.Compare(b.GetEdges(), a.GetEdges()), cmp.Compare(a.GetUid(), b.GetUid()))
	})

	return counts
}

func (s *Survey) split() (receivers, senders []*member) {
	for _, c := range s.members {
		if c.receives {
			receivers = append(receivers, c)
		}
		if c.sends {
			senders = append(senders, c)
		}
	}
	sortByID(receivers)
	sortByID(senders)

	return receivers, senders
}

// finder finds members' places in a list by what a side says of them.
type finder struct {
	list     []*member
	places   []int // 0, 1, 2, ...
	byID     map[string]int
	byClient map[string][]int
	byBundle map[uint64][]int
}

func newFinder(list []*member) *finder {
	f := &finder{list: list, places: make([]int, len(list)), byID: make(map[string]int, len(list)),
		byClient: make(map[string][]int), byBundle: make(map[uint64][]int)}
	for at, c := range list {
		f.places[at] = at
		f.byID[c.id] = at
		f.byClient[c.client] = append(f.byClient[c.client], at)
		f.byBundle[c.bundle] = append(f.byBundle[c.bundle], at)
	}

	return f
}

// find returns places that are not to be changed: those of one connection, or of one
// client, as most sides name, are there already.
func (f *finder) find(s *side) []int {
	var places []int
	switch s.form {
	case byConnection:
		for _, id := range s.connections {
			at, ok := f.byID[id]
			switch {
			case ok && len(s.connections) == 1:
				return f.places[at : at+1 : at+1]
			case ok:
				places = append(places, at)
			}
		}
	case byClient:
		if len(s.clients) == 1 {
			return f.byClient[s.clients[0]]
		}
		for _, client := range s.clients {
			places = append(places, f.byClient[client]...)
		}
	case open:
		for at, c := range f.list {
			if s.names(c) {
				places = append(places, at)
			}
		}
	case nobody:
	}

	return places
}

func (f *finder) members(s *side) []*member {
	places := f.find(s)
	members := make([]*member, len(places))
	for i, at := range places {
		members[i] = f.list[at]
	}

	return members
}

// named is who one pause's senders are: a list, and once it is used where that is
// worth it, bits.
type named struct {
	senders []int
	bits    bitSet
}

func (n *named) unite(with bitSet, senders int) {
	if n.bits == nil && len(n.senders) > len(with) {
		n.bits = newBitSet(senders)
		for _, at := range n.senders {
			n.bits.add(at)
		}
	}
	if n.bits == nil {
		for _, at := range n.senders {
			with.add(at)
		}

		return
	}
	for i, word := range n.bits {
		with[i] |= word
	}
}

// bitSet is a set of small numbers.
type bitSet []uint64

func newBitSet(size int) bitSet { return make(bitSet, (size+63)/64) }

func (b bitSet) clear()       { clear(b) }
func (b bitSet) add(n int)    { b[n/64] |= 1 << (n % 64) }
func (b bitSet) remove(n int) { b[n/64] &^= 1 << (n % 64) }

func (b bitSet) count() int {
	n := 0
	for _, word := range b {
		n += bits.OnesCount64(word)
	}

	return n
}

// each calls do for each number in the set, in order, until it returns false.
func (b bitSet) each(do func(int) bool) {
	for i, word := range b {
		for ; word != 0; word &= word - 1 {
			if !do(i*64 + bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}
