package fanout

import (
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
)

// storeSize is how many of a layer's numbers the store reaches back. No packet later
// than that gets past the rule for late packets of numbers.Sequence, save one run of
// numbers apart, so every packet's copy can be recognised.
const storeSize = numbers.MaxMisorder

// store keeps one layer's last packets, once for all receivers: to answer NACKs,
// to recognise copies, and to replay what overtook a keyframe's first packet. It has
// no memory before the first packet: whoever connects and sends nothing costs little.
type store struct {
	slots    *[storeSize]stored
	arrivals uint64
	highest  uint64 // number
}

// stored is one packet. Its payload's memory is used again for a later packet.
type stored struct {
	packet  forwarding.Packet
	arrival uint64 // counted from 1; 0: the slot is empty
	padding uint8  // that it is sent with, each time
	payload []byte
}

// add copies the packet in; false if it is there already, or too old to tell.
func (s *store) add(p forwarding.Packet, payload []byte) (arrival uint64, ok bool) {
	if s.slots == nil {
		s.slots = new([storeSize]stored)
	}
	slot := &s.slots[p.SequenceNumber%storeSize]
	if slot.arrival != 0 && slot.packet.SequenceNumber >= p.SequenceNumber {
		return 0, false
	}
	s.arrivals++
	s.highest = max(s.highest, p.SequenceNumber)
	slot.packet, slot.arrival, slot.padding = p, s.arrivals, 0
	slot.payload = append(slot.payload[:0], payload...)

	return s.arrivals, true
}

// get is the packet with the layer's extended number, nil if it is not there.
func (s *store) get(sequenceNumber uint64) *stored {
	if s.slots == nil {
		return nil
	}
	slot := &s.slots[sequenceNumber%storeSize]
	if slot.arrival == 0 || slot.packet.SequenceNumber != sequenceNumber {
		return nil
	}

	return slot
}
