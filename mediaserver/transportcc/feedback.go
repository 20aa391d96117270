package transportcc

import (
	"encoding/binary"
	"math"
	"slices"
)

// MaxFeedbackBytes is the most that a feedback packet has: less than any path's datagram, sealed.
const MaxFeedbackBytes = 1000

const (
	feedbackFormat = 15  // of transport-layer feedback: transport-wide
	feedbackType   = 205 // RTPFB (RFC 4585 section 6.1)
	headerBytes    = 20  // up to the first chunk
	// ticksPerReference is 64 ms, the resolution of the reference time.
	ticksPerReference = 256
)

// status is what feedback says of one number (section 3.1.1 of the draft); it is also how many bytes its delta has.
type status uint8

const (
	notReceived status = iota
	smallDelta         // from 0 to 255 ticks after the packet before
	largeDelta         // as many ticks after or before it as 16 bits can say
)

// AppendFeedback appends the next feedback packet to b, of at most MaxFeedbackBytes, and nothing when nothing waits.
// Call it until nothing waits any more. sender and media are the SSRCs of the feedback's own sender and of a stream
// that it is about: libwebrtc looks at none whose media is not one of its streams.
func (a *Arrivals) AppendFeedback(b []byte, sender, media uint32) []byte {
	var memory [window]status
	statuses, reference := a.describe(memory[:0])
	if len(statuses) == 0 {
		a.waiting = 0

		return b
	}
	first, start := a.next, len(b)
	b = append(b, 2<<6|feedbackFormat, feedbackType, 0, 0)
	b = binary.BigEndian.AppendUint32(b, sender)
	b = binary.BigEndian.AppendUint32(b, media)
	b = binary.BigEndian.AppendUint16(b, uint16(first))
	b = binary.BigEndian.AppendUint16(b, uint16(len(statuses)))
	b = binary.BigEndian.AppendUint32(b, uint32(reference)<<8|uint32(a.count))
	b = appendChunks(b, statuses)
	b = a.appendDeltas(b, statuses, reference*ticksPerReference)
	if padding := -(len(b) - start) & 3; padding > 0 { // RFC 3550 section 6.4.1
		b[start] |= 1 << 5
		for range padding - 1 {
			b = append(b, 0)
		}
		b = append(b, byte(padding))
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16((len(b)-start)/4-1))
	a.next = first + int64(len(statuses))
	a.count++
	if a.next == a.end {
		a.waiting = 0
	}

	return b
}

// describe tells what the next feedback packet says of each number from next on, the last of them one that has come,
// and its reference time. It ends where the packet is full, and where two came too far apart for 16 bits of ticks.
func (a *Arrivals) describe(statuses []status) (_ []status, reference int64) {
	var before int64 // when the packet before came; 0: there is none
	size, told := headerBytes, 0
	for number := a.next; number < a.end; number++ {
		at := *a.slot(number)
		if at == 0 {
			statuses = append(statuses, notReceived)

			continue
		}
		if before == 0 {
			reference = at / ticksPerReference
			before = reference * ticksPerReference
		}
		delta := at - before
		if delta < math.MinInt16 || delta > math.MaxInt16 {
			break
		}
		s := largeDelta
		if delta >= 0 && delta <= math.MaxUint8 {
			s = smallDelta
		}
		size += int(s)
		if most := 2 * (len(statuses)/7 + 1); size+most+3 > MaxFeedbackBytes { // with the most chunks, and padding
			break
		}
		statuses = append(statuses, s)
		before, told = at, len(statuses)
	}

	return statuses[:told], reference
}

// appendDeltas says how long after the one before each packet came that has.
func (a *Arrivals) appendDeltas(b []byte, statuses []status, before int64) []byte {
	for i, s := range statuses {
		if s == notReceived {
			continue
		}
		at := *a.slot(a.next + int64(i))
		if s == smallDelta {
			b = append(b, byte(at-before))
		} else {
			b = binary.BigEndian.AppendUint16(b, uint16(at-before))
		}
		before = at
	}

	return b
}

const (
	oneBitSymbols = 14 // in a status vector chunk of one bit each, smallDelta or notReceived
	twoBitSymbols = 7  // in one of two bits each
)

// appendChunks says of each number whether it came, and how many bytes its delta has: in runs of the same status where
// a run is longer than a vector of symbols would be (sections 3.1.2 to 3.1.4 of the draft).
func appendChunks(b []byte, statuses []status) []byte {
	for len(statuses) > 0 {
		vector := min(oneBitSymbols, len(statuses))
		large := slices.Contains(statuses[:vector], largeDelta)
		if large {
			vector = min(twoBitSymbols, len(statuses))
		}
		if run := runLength(statuses); run >= vector {
			b = binary.BigEndian.AppendUint16(b, uint16(statuses[0])<<13|uint16(run))
			statuses = statuses[run:]

			continue
		}
		b = binary.BigEndian.AppendUint16(b, vectorChunk(statuses[:vector], large))
		statuses = statuses[vector:]
	}

	return b
}

// runLength is how many of the first statuses are the same.
func runLength(statuses []status) int {
	for i, s := range statuses {
		if s != statuses[0] {
			return i
		}
	}

	return len(statuses)
}

// vectorChunk has a symbol for each status, from the left; those that are left over say that nothing came.
func vectorChunk(statuses []status, large bool) uint16 {
	chunk, bits := uint16(1)<<15, 1
	if large {
		chunk, bits = 3<<14, 2
	}
	for i, s := range statuses {
		chunk |= uint16(s) << (14 - bits - bits*i)
	}

	return chunk
}
