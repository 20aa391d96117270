package spotlight

import "time"

const (
	// quietest is the quietest speech, in dB above digital silence: 60 dB below overload.
	quietest = 67
	// highestFloor is how high the noise floor goes: what is steadily louder than 50 dB
	// below overload is music, and not noise.
	highestFloor = 77
	// aboveFloor is by how much speech exceeds the noise, in dB: a unit of the activity.
	aboveFloor = unit
	// floorRise is how fast the noise floor rises, in dB for each slot, which makes 2 for
	// each second. It falls at once, so the pauses between words keep it down; and it
	// begins with the first packet. Digital silence is left out: that is a microphone which is
	// off, and tells nothing of the noise around it.
	floorRise = 0.04

	// afterSpeech is how long a sender is heard after its last loud packet: longer than the
	// pauses between words. Until it was loud for loudSlots, it may have been a noise.
	afterSpeech = 800 * time.Millisecond
	afterNoise  = 200 * time.Millisecond
	loudSlots   = 5
)

// hearing is the test whether a sender is to be heard. It opens with one loud packet, and
// no more often than each afterNoise.
type hearing struct {
	known bool    // it has said how loud it is
	floor float32 // of noise, in dB above digital silence; 0: none has come
	loud  uint8   // slots since it opened, up to loudSlots
	until time.Duration
}

// hear takes in a packet; fresh: it is the first of its slot.
func (h *hearing) hear(fresh bool, loudness uint8, now time.Duration) {
	h.known = true
	if h.floor == 0 {
		h.floor = min(float32(loudness), highestFloor)
	}
	if loudness < quietest || !h.exceeded(loudness) {
		return
	}
	if now >= h.until {
		h.loud, fresh = 0, true
	}
	if fresh && h.loud < loudSlots {
		h.loud++
	}
	if h.loud == loudSlots {
		h.until = max(h.until, now+afterSpeech)
	} else {
		h.until = max(h.until, now+afterNoise)
	}
}

func (h *hearing) open(now time.Duration) bool { return !h.known || now < h.until }

// exceeded tells whether something is more than noise.
func (h *hearing) exceeded(loudness uint8) bool { return float32(loudness) >= h.floor+aboveFloor }

// track moves the noise floor by a slot in which something came.
func (h *hearing) track(loudness uint8) {
	if loudness == 0 {
		return
	}
	h.floor = min(h.floor+floorRise, float32(loudness), highestFloor)
}
