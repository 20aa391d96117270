package forwarding_test

import (
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// Each layer sends a frame of one packet every so many ms, in the time given; what is
// there is looked at as time goes on.
func TestPresence(t *testing.T) {
	type sends struct {
		layer       media.Layer
		every       int
		from, until int // ms
		unmarked    bool
		padding     bool
	}
	type looks struct {
		at    int // ms
		there media.Layers
	}
	for name, test := range map[string]struct {
		sends []sends
		looks []looks
	}{
		"each counts with its first packet": {
			[]sends{{layer: 0, every: 33, until: 2000}, {layer: 2, every: 33, from: 380, until: 2000}},
			[]looks{{0, media.LayersOf(0)}, {370, media.LayersOf(0)}, {400, media.LayersOf(0, 2)}},
		},
		"one vanishes": {
			[]sends{{layer: 0, every: 33, until: 4000}, {layer: 2, every: 33, until: 1000}},
			[]looks{{1400, media.LayersOf(0, 2)}, {1540, media.LayersOf(0)}, {4000, media.LayersOf(0)}},
		},
		"beside one of few frames": {
			[]sends{{layer: 0, every: 200, until: 4000}, {layer: 2, every: 33, until: 1000}},
			[]looks{{1790, media.LayersOf(0, 2)}, {1810, media.LayersOf(0)}},
		},
		"frames that do not end count for nothing": {
			[]sends{{layer: 0, every: 33, until: 4000, unmarked: true}, {layer: 2, every: 33, until: 1000}},
			[]looks{{4000, media.LayersOf(0, 2)}},
		},
		"all are silent": {
			[]sends{{layer: 0, every: 33, until: 1000}, {layer: 2, every: 33, until: 1000},
				{layer: 0, every: 33, from: 9000, until: 9100}},
			[]looks{{8000, media.LayersOf(0, 2)}, {9050, media.LayersOf(0, 2)}},
		},
		"one comes back later from a mute of all": {
			[]sends{
				{layer: 2, every: 33, until: 1000}, {layer: 0, every: 33, until: 1100}, {layer: 1, every: 33, until: 800},
				{layer: 0, every: 33, from: 5000, until: 9000}, {layer: 1, every: 33, from: 5200, until: 9000},
				{layer: 2, every: 33, from: 5400, until: 9000},
			},
			[]looks{{5190, media.LayersOf(0, 1, 2)}, {5390, media.LayersOf(0, 1, 2)}, {6000, media.LayersOf(0, 1, 2)}},
		},
		"one does not come back from a mute of all": {
			[]sends{
				{layer: 0, every: 33, until: 1000}, {layer: 2, every: 33, until: 1000},
				{layer: 0, every: 33, from: 5000, until: 9000},
			},
			[]looks{{5490, media.LayersOf(0, 2)}, {5540, media.LayersOf(0)}},
		},
		"beside one of a frame each second": {
			[]sends{{layer: 0, every: 1000, until: 9000}, {layer: 2, every: 1000, until: 2000}},
			[]looks{{6990, media.LayersOf(0, 2)}, {7010, media.LayersOf(0)}},
		},
		"one returns": {
			[]sends{{layer: 0, every: 33, until: 9000}, {layer: 2, every: 33, until: 1000},
				{layer: 2, every: 33, from: 3000, until: 9000}},
			[]looks{{2900, media.LayersOf(0)}, {3900, media.LayersOf(0)}, {4100, media.LayersOf(0, 2)},
				{9000, media.LayersOf(0, 2)}},
		},
		"one comes and goes": {
			[]sends{
				{layer: 0, every: 33, until: 9000}, {layer: 2, every: 33, until: 1000},
				{layer: 2, every: 33, from: 3000, until: 3300}, {layer: 2, every: 33, from: 4000, until: 4300},
				{layer: 2, every: 33, from: 5000, until: 5300},
			},
			[]looks{{4100, media.LayersOf(0)}, {5290, media.LayersOf(0)}},
		},
		"one is left, which has just returned": {
			[]sends{{layer: 0, every: 33, until: 4000}, {layer: 2, every: 33, until: 1000},
				{layer: 2, every: 33, from: 3900, until: 9000}},
			[]looks{{4400, media.LayersOf(0)}, {4600, media.LayersOf(2)}, {9000, media.LayersOf(2)}},
		},
		"of one that vanishes, padding goes on": {
			[]sends{{layer: 0, every: 33, until: 4000}, {layer: 2, every: 33, until: 1000},
				{layer: 2, every: 100, from: 1100, until: 4000, padding: true}},
			[]looks{{1540, media.LayersOf(0)}, {4000, media.LayersOf(0)}},
		},
		"the lowest vanishes": {
			[]sends{{layer: 0, every: 33, until: 1000}, {layer: 1, every: 33, until: 4000}},
			[]looks{{1600, media.LayersOf(1)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var p forwarding.Presence
			begin := time.Unix(0, 0)
			for ms := 0; ms <= 9000; ms++ {
				for _, s := range test.sends {
					if ms >= s.from && ms <= s.until && (ms-s.from)%s.every == 0 {
						before := p.There()
						packet := forwarding.Packet{Layer: s.layer, Marker: !s.unmarked, Empty: s.padding}
						changed := p.Receive(&packet, begin.Add(time.Duration(ms)*time.Millisecond))
						if changed != (p.There() != before) {
							t.Fatalf("at %d ms: %03b, then %03b, changed: %v", ms, before, p.There(), changed)
						}
					}
				}
				for _, l := range test.looks {
					if l.at == ms && p.There() != l.there {
						t.Errorf("at %d ms %03b are there, want %03b", ms, p.There(), l.there)
					}
				}
			}
		})
	}
}
