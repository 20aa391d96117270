package spotlight

import (
	"math"
	"math/bits"
)

// The windows and thresholds are those that Jitsi published the algorithm with, and
// mediasoup after it.
const (
	units       = 13                               // loudness that the shortest window tells apart
	unit        = (127 + units - 1) / units        // dB
	blockSlots  = 5                                // the medium window: 100 ms
	blocks      = 10                               // the long window: 1 s
	loudUnits   = 7                                // more than these make a slot active
	activeSlots = 4                                // more than these make a block active
	history     = int64(blockSlots * (blocks + 1)) // slots: all that is remembered
	// heldSlots are those that a packet's level holds on for: packets come late.
	heldSlots = 2
	// longestGap is how long, in slots, a level may hold on for where packets come that far
	// apart: Opus has packets of up to 120 ms, and some networks deliver several at a time.
	longestGap = 6
)

// By how much the logarithm of a score has to exceed the other's, in each window.
const (
	immediateMargin = 3
	mediumMargin    = 2
	longMargin      = 0
)

// The logarithms of the scores of 0, 1 and so on active parts of a window.
var (
	immediateScores = scores(units, 0.78)
	mediumScores    = scores(blockSlots, 24)
	longScores      = scores(blocks, 47)
)

// scores are of a window of n parts: how much likelier it is that so many of them are
// active if somebody speaks, each of them half of the time, than if the number falls off
// exponentially at the rate lambda, as it does while nobody does. What is no likelier
// scores next to nothing.
func scores(n int, lambda float64) []float64 {
	logs := make([]float64, n+1)
	choose := 0.0 // ln C(n, v)
	for v := range logs {
		if v > 0 {
			choose += math.Log(float64(n-v+1)) - math.Log(float64(v))
		}
		score := choose + float64(n)*math.Log(0.5) - math.Log(lambda) + lambda*float64(v)
		logs[v] = math.Log(max(score, 1e-10))
	}

	return logs
}

// activity is how much a sender has spoken in the last moment, tenth of a second and second.
type activity struct {
	slot    int64 // the present one
	came    bool  // something, in it
	loudest uint8 // of that

	held      uint8 // the last level, and for how many more slots it holds
	holds     uint8
	gap       uint8  // slots since something came before
	immediate uint8  // units of the last slot
	medium    uint8  // active slots of the block in hand
	block     uint8  // active slots of the last block
	active    uint16 // which of the last blocks are, the newest lowest
}

// advance brings the activity to a slot, and tells whether that is a new one. Slots in
// which nothing came are silent, but for those that the last level holds on for.
func (a *activity) advance(slot int64, noise *hearing) (fresh bool) {
	if slot <= a.slot {
		return false
	}
	if slot-a.slot > history {
		*a = activity{slot: slot}

		return true
	}
	for ; a.slot < slot; a.slot++ {
		a.close(noise)
	}

	return true
}

// close ends the present slot.
func (a *activity) close(noise *hearing) {
	switch {
	case a.came:
		noise.track(a.loudest)
		a.held, a.holds = a.loudest, heldSlots
		if a.gap <= longestGap {
			a.holds = max(heldSlots, a.gap)
		}
		a.gap = 0
	case a.holds > 0:
		a.holds--
	default:
		a.held = 0
	}
	a.gap = min(a.gap+1, longestGap+1)
	a.came, a.loudest, a.immediate = false, 0, 0
	if noise.exceeded(a.held) {
		a.immediate = min(a.held/unit, units)
	}
	if a.immediate > loudUnits {
		a.medium++
	}
	if (a.slot+1)%blockSlots != 0 {
		return
	}
	a.active = a.active << 1 & (1<<blocks - 1)
	if a.medium > activeSlots {
		a.active |= 1
	}
	a.block, a.medium = a.medium, 0
}

// long is how many of the last blocks are active.
func (a *activity) long() int { return bits.OnesCount16(a.active) }

// dominates tells whether somebody speaks so much more than another as to take its place.
func (a *activity) dominates(other *activity) bool {
	return immediateScores[a.immediate]-immediateScores[other.immediate] > immediateMargin &&
		mediumScores[a.block]-mediumScores[other.block] > mediumMargin &&
		longScores[a.long()]-longScores[other.long()] > longMargin
}

// exceeds orders activities, the longest window first.
func (a *activity) exceeds(other *activity) bool {
	if a.long() != other.long() {
		return a.long() > other.long()
	}

	return a.block > other.block
}
