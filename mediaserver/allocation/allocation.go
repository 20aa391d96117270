// Package allocation divides what a receiver can be sent among the pictures that it is to
// get: an estimate and demands in, a layer for each demand out. It is pure, and the same
// questions have the same answers.
//
// Audio comes first, whatever it takes. Then every picture gets its lowest layer before any
// gets a higher one, and so on upwards. Who is paused, or not in focus, is no demand.
package allocation

import (
	"slices"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

const (
	// headroom is how much more than a layer takes must be there for it to be added; one that
	// is sent already stays until it does not fit any more. Encoders keep to their rates
	// within a tenth.
	headroom = 1.1
	// hold is how long a picture has a layer, or none, before it gets a higher one: two
	// changes in a shorter time are seen as flicker, and each costs a keyframe.
	hold = 2 * time.Second
	// overdraft is how much more than the estimate all lowest layers may take: receivers put
	// their estimate at 85 % of what arrives whenever they think that it was too much, and
	// where they are wrong nobody should vanish.
	overdraft = 1.2
	// floor is how many times the estimate the first picture's lowest layer may take all the
	// same: an estimate may be wrong, a bad picture is better than none, and without any
	// picture hardly anything tells of the way.
	floor = 2
)

// Demand is one picture that the receiver is to get.
type Demand struct {
	// Layers are those that there are, Chosen the highest that the receiver wants, and Rates
	// what each of them takes, in bit/s.
	Layers media.Layers
	Chosen media.Layer
	Rates  [media.MaxLayers]int
	// Now is what it gets, since Since.
	Now   Share
	Since time.Time
	// Keeps tells that nothing says that what is sent is too much. Then a picture does not
	// vanish because its sender sends more than before, though the estimate knows of less.
	Keeps bool
}

// Share is what a demand gets: a layer, or nothing. The zero Share is nothing.
type Share struct{ above uint8 }

// ShareOf is a layer.
func ShareOf(layer media.Layer) Share { return Share{1 + uint8(layer)} }

// Layer is the share's; false: it is nothing.
func (s Share) Layer() (media.Layer, bool) { return media.Layer(s.above - 1), s.above > 0 }

// Result is how an estimate is divided.
type Result struct {
	// Shares are those of the demands, in their order.
	Shares []Share
	// Spent is what they take, and Wanted what it would be with the next layer that did not
	// fit, headroom included, both with audio and in bit/s; 0: everybody gets what there is.
	Spent, Wanted int
	// Next is when a demand may rise that has to hold still now; zero: none has to.
	Next time.Time
}

// Divide divides an estimate, in bit/s, of which audio takes its part first.
//
// Pictures are ordered by what they take, so that as many as possible are seen; one that is
// seen already counts half, so that two of equal sizes do not take turns. Where one does not
// fit, none behind it is looked at: with more there would never be less of any picture.
func Divide(estimate, audio int, demands []Demand, now time.Time) Result {
	r := Result{Shares: make([]Share, len(demands)), Spent: audio}
	for rung := range media.MaxLayers {
		for _, step := range steps(demands, r.Shares, rung) {
			d := &demands[step.demand]
			rises := step.to.above > d.Now.above
			replaced := rung == 0 && d.Now.above > 0 // The layer that it got is gone.
			if ends := d.Since.Add(hold); rises && !replaced && now.Before(ends) && !d.Since.IsZero() {
				if r.Next.IsZero() || ends.Before(r.Next) {
					r.Next = ends
				}

				continue
			}
			total := r.Spent + step.takes
			needed := total
			if rises {
				needed = audio + int(float64(total-audio)*headroom)
			}
			if needed > room(estimate, audio, rung, r.Spent == audio) && !step.kept {
				r.Wanted = max(needed, estimate+1)

				return r
			}
			r.Shares[step.demand], r.Spent = step.to, total
		}
	}

	return r
}

// room is how much may be spent in a round; first: nothing is yet but for audio.
func room(estimate, audio, rung int, first bool) int {
	left := max(0, estimate-audio)
	switch {
	case rung > 0:
		return estimate
	case first:
		return audio + floor*left
	default:
		return audio + int(overdraft*float64(left))
	}
}

// step is one demand's next layer.
type step struct {
	demand int
	to     Share
	takes  int // bit/s more than it has
	weight int // what it is ordered by
	kept   bool
}

// steps are those to a rung of the demands' ladders, for all who stand on the one below.
func steps(demands []Demand, shares []Share, rung int) []step {
	var list []step
	for i := range demands {
		d := &demands[i]
		to, ok := d.rung(rung)
		if !ok {
			continue
		}
		s := step{demand: i, to: to, takes: d.rate(to) - d.rate(shares[i])}
		if below, has := d.rung(rung - 1); has && shares[i] != below {
			continue // It holds still further down.
		}
		if s.weight = s.takes; d.Now.above >= to.above {
			s.weight /= 2
			if s.kept = d.Keeps && rung == 0; s.kept {
				s.weight = 0
			}
		}
		list = append(list, s)
	}
	slices.SortStableFunc(list, func(a, b step) int { return a.weight - b.weight })

	return list
}

// rung is the layer that the demand gets in a round, from 0: of those that there are, up to
// the chosen one, or the lowest if there are only higher ones.
func (d *Demand) rung(n int) (Share, bool) {
	lowest, ok := d.Layers.Nearest(0)
	if !ok || n < 0 {
		return Share{}, false
	}
	for layer := media.Layer(0); layer < media.MaxLayers; layer++ {
		if !d.Layers.Has(layer) || layer > d.Chosen && layer != lowest {
			continue
		}
		if n == 0 {
			return ShareOf(layer), true
		}
		n--
	}

	return Share{}, false
}

func (d *Demand) rate(s Share) int {
	if layer, ok := s.Layer(); ok {
		return d.Rates[layer]
	}

	return 0
}
