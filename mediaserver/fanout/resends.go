package fanout

import (
	"maps"
	"time"
)

const (
	// maxResends is how often one packet is sent again to one receiver: as often as
	// libwebrtc asks for it.
	maxResends = 10
	// maxResendTime is from the first time on that a packet is sent again how long it
	// may be sent once more. After that its frame has been late for too long, and a
	// keyframe is the shorter way back to a moving picture.
	maxResendTime = time.Second
	// resendAhead is how many bytes may be sent again beyond the bytes that were sent
	// for the first time: about a keyframe. What a receiver loses for want of
	// bandwidth must not be answered with twice the bandwidth and more.
	resendAhead = 128 << 10
)

// resends is what was sent again to one receiver. The zero value: nothing was.
type resends struct {
	packets map[uint64]resent // by the extended number that they left under
	ahead   int64             // bytes sent again beyond those sent for the first time
	octets  uint32            // sent for the first time when ahead was reckoned
}

// resent is one packet that was sent again.
type resent struct {
	times int
	first time.Time
}

// allow tells whether the packet may be sent again, and counts it if so. octets is
// what was sent for the first time so far, highest the highest number that has left.
func (r *resends) allow(number uint64, size int, octets uint32, highest uint64, now time.Time) bool {
	r.ahead = max(0, r.ahead-int64(octets-r.octets))
	r.octets = octets
	p := r.packets[number]
	switch {
	case p.times == 0:
		p.first = now
	case p.times == maxResends, now.Sub(p.first) > maxResendTime:
		return false
	}
	if r.ahead+int64(size) > resendAhead {
		return false
	}
	r.ahead += int64(size)
	p.times++
	r.note(number, p, highest)

	return true
}

func (r *resends) note(number uint64, p resent, highest uint64) {
	if r.packets == nil {
		r.packets = make(map[uint64]resent)
	}
	if len(r.packets) >= 2*storeSize { // at least half of them have left the stores
		maps.DeleteFunc(r.packets, func(n uint64, _ resent) bool { return n+storeSize <= highest })
	}
	r.packets[number] = p
}
