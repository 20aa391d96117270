package fanout

import (
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// ReceiveNACK sends again what the receiver misses (RFC 4585 section 6.2.1), as far
// as it was sent since the last cut and is not too old. What was sent again too often
// already needs a keyframe.
func (pr *Projection) ReceiveNACK(batch *udp.Batch, sequenceNumbers []uint16) {
	now, answered, asked := time.Now(), 0, len(sequenceNumbers)
	var from time.Time
	for len(sequenceNumbers) > 0 {
		n := min(copyAtOnce, len(sequenceNumbers))
		batch.Room(n)
		sent, wish := pr.resend(batch, sequenceNumbers[:n], now)
		answered += sent
		if !wish.IsZero() {
			from = wish
		}
		sequenceNumbers = sequenceNumbers[n:]
	}
	if answered != 0 {
		pr.track.counters.NACKAnswered.Add(uint64(answered))
	}
	if answered != asked {
		pr.track.counters.NACKIgnored.Add(uint64(asked - answered))
	}
	if !from.IsZero() {
		pr.track.counters.ResendsExhausted.Add(1)
		pr.askKeyframe(from, false)
	}
}

// resend sends a few packets again and returns how many. Where the receiver misses one
// that it cannot go on without, and that is not sent again any more, the projection
// wants a keyframe, for which the sender may be asked at the time wish.
func (pr *Projection) resend(batch *udp.Batch, sequenceNumbers []uint16, now time.Time) (sent int, wish time.Time) {
	pr.lock()
	defer pr.mu.Unlock()
	if pr.removed || pr.state.Withheld() != 0 {
		return 0, time.Time{}
	}
	pr.outgoing.SendTime = media.SendTime(now)
	var again [copyAtOnce]forwarding.Origin
	b, lost := pr.recall(sequenceNumbers, &again, now)
	defer b.recycle()
	for i := range b.arrivals {
		a := &b.arrivals[i]
		a.fill(&pr.outgoing, again[i].Header(a.packet), again[i].Pictures)
		if pr.sink.ResendRTP(batch, &pr.outgoing) != nil {
			pr.track.counters.SinkErrors.Add(1)

			continue
		}
		sent++
	}
	if lost {
		wish = pr.request(now)
	}

	return sent, wish
}

// recall copies packets out of the stores, and tells how each of them left. Each counts as
// sent again. Call with mu held.
//
// Numbers that the sender's packets never came under are a matter between the sender
// and us, and a keyframe would not be the answer: the receiver that cannot wait for it
// sends a PLI. Nor is it for what a receiver can do without, since it was sent a
// keyframe after it. Numbers from before the cut, and the one left out after half a
// frame, forwarding.History does not know.
func (pr *Projection) recall(
	sequenceNumbers []uint16, origins *[copyAtOnce]forwarding.Origin, now time.Time,
) (b *burst, lost bool) {
	t := pr.track
	highest, _ := pr.state.LastSequenceNumber()
	t.in.Lock()
	defer t.in.Unlock()
	b = t.fetch()
	for _, n := range sequenceNumbers {
		origin, ok := pr.history.Find(n, highest)
		if !ok {
			continue
		}
		p := t.layers[origin.Layer].store.get(origin.SequenceNumber)
		if p == nil {
			continue
		}
		if !pr.resends.allow(origin.Number, len(p.payload)+int(p.padding), pr.octets, highest, now) {
			lost = lost || t.config.Kind == media.Video && origin.Number >= pr.keyframe

			continue
		}
		origins[len(b.arrivals)] = origin
		b.add(p)
	}

	return b, lost
}

// ReceivePLI asks the sender for a keyframe on the receiver's behalf. While the
// stream is withheld the wish is ignored: it must not cost the sender's other
// receivers a keyframe, and the end of the pause asks for one anyway.
func (pr *Projection) ReceivePLI() {
	var from time.Time
	pr.lock()
	ignored := pr.removed || pr.state.Withheld() != 0
	if !ignored {
		from = pr.request(time.Now())
	}
	pr.mu.Unlock()
	if ignored {
		pr.track.counters.PLIIgnored.Add(1)

		return
	}
	pr.askKeyframe(from, false)
}

// request notes that the receiver cannot go on without a keyframe, and tells from when
// on the sender may be asked for it. Call with mu held.
func (pr *Projection) request(now time.Time) (from time.Time) {
	pr.requested = true
	pr.wish.toGoOn(now)

	return pr.wish.from
}
