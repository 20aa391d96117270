package allocation

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

var (
	now   = time.Unix(1_000_000, 0)
	three = Demand{Layers: media.LayersOf(0, 1, 2), Chosen: 2, Rates: [...]int{150_000, 450_000, 1_200_000}}
)

// gets is the demand with what it has had for a minute; -1: nothing.
func gets(d Demand, layer int) Demand {
	d.Now, d.Since = Share{uint8(layer + 1)}, now.Add(-time.Minute)

	return d
}

func kept(d Demand) Demand {
	d.Keeps = true

	return d
}

// just is the demand that has it for a second.
func just(d Demand, layer int) Demand {
	d = gets(d, layer)
	d.Since = now.Add(-time.Second)

	return d
}

func chosen(d Demand, layer media.Layer) Demand {
	d.Chosen = layer

	return d
}

func there(d Demand, layers ...media.Layer) Demand {
	d.Layers = media.LayersOf(layers...)

	return d
}

func plain(rate int) Demand {
	return Demand{Layers: media.LayersOf(0), Chosen: 2, Rates: [...]int{rate, 0, 0}}
}

func seen(rate int) Demand { return gets(plain(rate), 0) }

func hidden(rate int) Demand { return gets(plain(rate), -1) }

func TestDivide(t *testing.T) {
	for name, test := range map[string]struct {
		estimate, audio int
		demands         []Demand
		want            []int // layers; -1: nothing
		wanted          int
	}{
		"everything":                     {5_000_000, 40_000, []Demand{three, three}, []int{2, 2}, 0},
		"nobody asks":                    {5_000_000, 40_000, nil, nil, 0},
		"one picture, the middle":        {700_000, 40_000, []Demand{three}, []int{1}, 40_000 + 1_320_000},
		"one picture, the lowest":        {425_000, 40_000, []Demand{three}, []int{0}, 40_000 + 495_000},
		"audio first":                    {530_000, 40_000, []Demand{three}, []int{0}, 535_000},
		"every r0 before any r1":         {700_000, 40_000, []Demand{three, three, three}, []int{0, 0, 0}, 40_000 + 825_000},
		"every r1 before any r2":         {2_000_000, 0, []Demand{three, three, three}, []int{1, 1, 1}, 2_310_000},
		"one r1 more":                    {900_000, 40_000, []Demand{three, three}, []int{1, 0}, 40_000 + 990_000},
		"not all r0":                     {360_000, 0, []Demand{three, three, three}, []int{0, 0, -1}, 495_000},
		"the floor":                      {100_000, 0, []Demand{three, three}, []int{0, -1}, 330_000},
		"below the floor":                {60_000, 0, []Demand{three}, []int{-1}, 165_000},
		"audio takes it all":             {60_000, 80_000, []Demand{three}, []int{-1}, 80_000 + 165_000},
		"a big one does not hide others": {500_000, 0, []Demand{plain(2_000_000), three, three}, []int{-1, 0, 0}, 2_530_000},
		"no more than a fifth":           {370_000, 0, []Demand{three, three, three}, []int{0, 0, -1}, 495_000},
		"wrong by 15 %": {1_020_000, 0, []Demand{seen(400_000), seen(400_000), seen(400_000)},
			[]int{0, 0, 0}, 0},
		"of equals the one that is seen": {600_000, 0, []Demand{hidden(500_000), hidden(450_000), seen(520_000)},
			[]int{-1, -1, 0}, 1_067_000},
		"not above the chosen one":       {5_000_000, 0, []Demand{chosen(three, 0), chosen(three, 1)}, []int{0, 1}, 0},
		"a layer that is not there":      {5_000_000, 0, []Demand{there(three, 0, 2)}, []int{2}, 0},
		"nor does it fit":                {700_000, 0, []Demand{there(three, 0, 2)}, []int{0}, 1_320_000},
		"a higher one only":              {5_000_000, 0, []Demand{chosen(there(three, 2), 0)}, []int{2}, 0},
		"nothing is there":               {5_000_000, 0, []Demand{there(three)}, []int{-1}, 0},
		"what is sent needs no headroom": {460_000, 0, []Demand{gets(three, 1)}, []int{1}, 1_320_000},
		"what is added does":             {460_000, 0, []Demand{gets(three, 0)}, []int{0}, 495_000},
		"down at once":                   {425_000, 0, []Demand{just(three, 2)}, []int{0}, 450_000},
		"up after a while":               {5_000_000, 0, []Demand{just(three, 0)}, []int{0}, 0},
		"in place of one that is gone":   {5_000_000, 0, []Demand{just(there(three, 1, 2), 0)}, []int{1}, 0},
		"no sign, no loss of the lowest": {30_000, 0, []Demand{kept(seen(600_000))}, []int{0}, 0},
		"but of what is above it":        {500_000, 0, []Demand{kept(gets(three, 2))}, []int{1}, 1_200_000},
		"it comes before what is new": {
			500_000, 0, []Demand{hidden(300_000), kept(seen(600_000))}, []int{-1, 0}, 990_000,
		},
		"who holds still keeps none back": {5_000_000, 0, []Demand{just(three, 0), gets(three, 0)}, []int{0, 2}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := Divide(test.estimate, test.audio, test.demands, now)
			for i, share := range got.Shares {
				if int(share.above)-1 != test.want[i] {
					t.Errorf("demand %d gets %d, want %d", i, int(share.above)-1, test.want[i])
				}
			}
			if got.Wanted != test.wanted {
				t.Errorf("the next layer wants %d, want %d", got.Wanted, test.wanted)
			}
		})
	}
}

func TestHoldingStill(t *testing.T) {
	r := Divide(5_000_000, 0, []Demand{just(three, 0), just(three, 1)}, now)
	if want := now.Add(time.Second); !r.Next.Equal(want) {
		t.Errorf("to be looked at again at %v, want %v", r.Next, want)
	}
	if r := Divide(5_000_000, 0, []Demand{gets(three, 0)}, now); !r.Next.IsZero() {
		t.Errorf("nobody has to hold still, and %v is told", r.Next)
	}
}

// anyone is demands at random.
func anyone(random *rand.Rand) []Demand {
	demands := make([]Demand, random.IntN(6))
	for i := range demands {
		d := &demands[i]
		d.Layers = media.Layers(random.IntN(8))
		d.Chosen = media.Layer(random.IntN(3))
		d.Rates[0] = random.IntN(300_000)
		d.Rates[1] = d.Rates[0] + random.IntN(600_000)
		d.Rates[2] = d.Rates[1] + random.IntN(2_000_000)
		d.Now = Share{uint8(random.IntN(4))}
		d.Since = now.Add(-time.Duration(random.IntN(4000)) * time.Millisecond)
	}

	return demands
}

// With more there is never less of anything; nothing is beyond the estimate but audio, and
// lowest layers by the overdraft and the floor; no picture is higher than chosen; none has a second layer while
// another that may rise has none; and it is always the same.
func TestDivideProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 5))
	for range 20_000 {
		demands, audio := anyone(random), random.IntN(200_000)
		estimate := random.IntN(4_000_000)
		r := Divide(estimate, audio, demands, now)
		if again := Divide(estimate, audio, demands, now); !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v, and then %+v", r, again)
		}
		if err := check(r, estimate, audio, demands); err != nil {
			t.Fatalf("%d of %+v: %+v: %v", estimate, demands, r, err)
		}
		more := Divide(estimate+random.IntN(1_000_000), audio, demands, now)
		for i := range demands {
			if more.Shares[i].above < r.Shares[i].above {
				t.Fatalf("%+v: %+v, and with more %+v", demands, r, more)
			}
		}
		if r.Wanted > 0 && len(demands) > 0 {
			better := Divide(r.Wanted+1, audio, demands, now) // rounded down
			if reflect.DeepEqual(better.Shares, r.Shares) {
				t.Fatalf("%+v of %d: %d is wanted and changes nothing", demands, estimate, r.Wanted)
			}
		}
	}
}

func check(r Result, estimate, audio int, demands []Demand) error {
	spent, seen, higher := audio, 0, false
	for i, share := range r.Shares {
		layer, ok := share.Layer()
		if !ok {
			continue
		}
		seen++
		spent += demands[i].Rates[layer]
		lowest, _ := demands[i].Layers.Nearest(0)
		higher = higher || layer != lowest
		switch {
		case !demands[i].Layers.Has(layer):
			return fmt.Errorf("demand %d gets layer %d, which is not there", i, layer)
		case layer > demands[i].Chosen && layer != lowest:
			return fmt.Errorf("demand %d gets layer %d, which is above the chosen one", i, layer)
		}
		for j, other := range r.Shares {
			held := demands[j].Since.Add(hold).After(now) && demands[j].Now.above == 0
			if layer != lowest && other.above == 0 && demands[j].Layers != 0 && !held {
				return fmt.Errorf("demand %d gets layer %d, and %d nothing", i, layer, j)
			}
		}
	}
	switch {
	case spent != r.Spent:
		return fmt.Errorf("%d is said to be spent, and it is %d", r.Spent, spent)
	case spent > max(estimate, audio) && seen == 1 && spent-audio > floor*(estimate-audio),
		spent > max(estimate, audio) && seen > 1 && float64(spent-audio) > overdraft*float64(estimate-audio),
		spent > max(estimate, audio) && higher:
		return fmt.Errorf("%d is spent, %d on audio", spent, audio)
	}

	return nil
}

// An estimate that wavers by a twentieth does not make pictures flicker.
func TestNoFlicker(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 7))
	for base := 100_000; base < 3_000_000; base += 37_000 {
		demands := []Demand{three, three}
		at, changes := now, 0
		for range 600 {
			at = at.Add(200 * time.Millisecond)
			estimate := base - base/40 + random.IntN(base/20)
			for i, share := range Divide(estimate, 40_000, demands, at).Shares {
				if share != demands[i].Now {
					changes++
					demands[i].Now, demands[i].Since = share, at
				}
			}
		}
		if changes > 10 {
			t.Errorf("%d changes in two minutes at about %d bit/s", changes, base)
		}
	}
}
