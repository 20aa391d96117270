package media

import "math/bits"

// MaxLayers is how many encodings of one picture a sender may send at a time.
const MaxLayers = 3

// Layer is one of the encodings of a picture that a sender sends at a time, the
// smallest first: with simulcast (RFC 8853) 0, 1 and 2 are r0, r1 and r2. A sender
// without simulcast has layer 0 alone.
type Layer uint8

// Layers is a set of layers.
type Layers uint8

// LayersOf is the set of the layers in the list.
func LayersOf(list ...Layer) Layers {
	var set Layers
	for _, layer := range list {
		set |= 1 << layer
	}

	return set
}

// Has tells whether a layer is in the set.
func (s Layers) Has(layer Layer) bool { return s&(1<<layer) != 0 }

// Len is how many there are.
func (s Layers) Len() int { return bits.OnesCount8(uint8(s)) }

// Nearest is the layer of the set to have in place of one: it if it is there, else the
// next lower, else the lowest; false when the set is empty.
func (s Layers) Nearest(layer Layer) (nearest Layer, ok bool) {
	if lower := s & (1<<(layer+1) - 1); lower != 0 {
		return Layer(bits.Len8(uint8(lower)) - 1), true
	}

	return Layer(bits.TrailingZeros8(uint8(s))), s != 0
}
