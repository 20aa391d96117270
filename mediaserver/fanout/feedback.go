package fanout

import "github.com/nagi-rtc/nagi/mediaserver/udp"

// maxResends is how often one packet is sent again to one receiver. A receiver
// that lost it more often needs a keyframe, not more of our bandwidth.
const maxResends = 3

// ReceiveNACK sends again what the receiver misses (RFC 4585 section 6.2.1), as far
// as it was sent since the last cut and is not too old.
func (e *Edge) ReceiveNACK(batch *udp.Batch, sequenceNumbers []uint16) {
	answered, asked := 0, len(sequenceNumbers)
	for len(sequenceNumbers) > 0 {
		n := min(copyAtOnce, len(sequenceNumbers))
		batch.Room(n)
		answered += e.resend(batch, sequenceNumbers[:n])
		sequenceNumbers = sequenceNumbers[n:]
	}
	if answered != 0 {
		e.track.counters.NACKAnswered.Add(uint64(answered))
	}
	if answered != asked {
		e.track.counters.NACKIgnored.Add(uint64(asked - answered))
	}
}

// resend sends a few packets again and returns how many.
func (e *Edge) resend(batch *udp.Batch, sequenceNumbers []uint16) (sent int) {
	e.lock()
	defer e.mu.Unlock()
	if e.removed || e.state.Withheld() != 0 {
		return 0
	}
	b := e.recall(sequenceNumbers)
	defer b.recycle()
	for i := range b.arrivals {
		a := &b.arrivals[i]
		number := uint16(a.number)
		if e.sink.ResendRTP(batch, number, a.packet.Timestamp, a.packet.Marker, a.payload, a.padding) != nil {
			e.track.counters.SinkErrors.Add(1)
			continue
		}
		e.count(number, len(a.payload))
		sent++
	}
	e.publish()
	return sent
}

// recall copies packets out of the store, their numbers those under which they were
// sent. Each counts as sent again. Call with mu held.
func (e *Edge) recall(sequenceNumbers []uint16) *burst {
	t := e.track
	t.in.Lock()
	defer t.in.Unlock()
	b := t.fetch()
	for _, n := range sequenceNumbers {
		incoming, ok := e.state.Source(n)
		if !ok {
			continue
		}
		p := t.store.get(incoming)
		resends := &e.resends[n%storeSize]
		if p == nil || *resends == maxResends {
			continue
		}
		*resends++
		b.add(p)
		b.arrivals[len(b.arrivals)-1].number = uint64(n)
	}
	return b
}

// ReceivePLI asks the sender for a keyframe on the receiver's behalf. While the
// stream is withheld the wish is ignored: it must not cost the sender's other
// receivers a keyframe, and the end of the pause asks for one anyway.
func (e *Edge) ReceivePLI() {
	e.lock()
	ignored := e.removed || e.state.Withheld() != 0
	if !ignored {
		e.requested = true
	}
	e.mu.Unlock()
	if ignored {
		e.track.counters.PLIIgnored.Add(1)
		return
	}
	e.track.askKeyframe()
}
