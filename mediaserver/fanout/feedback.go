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
	pr.AnswerNACK(batch, sequenceNumbers)
}

// AnswerNACK is ReceiveNACK, and returns what the receiver asks for the first time.
func (pr *Projection) AnswerNACK(batch *udp.Batch, sequenceNumbers []uint16) (missing Missing) {
	now, answered, asked := time.Now(), 0, len(sequenceNumbers)
	var from time.Time
	for len(sequenceNumbers) > 0 {
		n := min(copyAtOnce, len(sequenceNumbers))
		batch.Room(n)
		sent, wish := pr.resend(batch, sequenceNumbers[:n], now, &missing)
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

	return missing
}

// Missing is what a receiver has asked for the first time: packets, of how many that it was sent
// since it asked last, and their bytes.
type Missing struct{ Packets, Span, Bytes int }

// maxSpan is between what a receiver asks for more than a queue passes that overflows.
const maxSpan = 64

// add notes a packet, given the last one before it. Both are extended numbers.
func (m *Missing) add(number, last uint64, size int) {
	span := number - last
	if last == 0 || span > maxSpan {
		span = 1
	}
	m.Packets++
	m.Span += int(span)
	m.Bytes += size
}

// resend sends a few packets again and returns how many. Where the receiver misses one
// that it cannot go on without, and that is not sent again any more, the projection
// wants a keyframe, for which the sender may be asked at the time wish.
func (pr *Projection) resend(
	batch *udp.Batch, sequenceNumbers []uint16, now time.Time, missing *Missing,
) (sent int, wish time.Time) {
	pr.lock()
	defer pr.mu.Unlock()
	if pr.removed || pr.state.Withheld() != 0 {
		return 0, time.Time{}
	}
	pr.outgoing.SendTime = media.SendTime(now)
	var again [copyAtOnce]forwarding.Origin
	b, lost := pr.recall(sequenceNumbers, &again, now, missing)
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
	sequenceNumbers []uint16, origins *[copyAtOnce]forwarding.Origin, now time.Time, missing *Missing,
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
		if origin.Number > pr.missed {
			missing.add(origin.Number, pr.missed, len(p.payload)+int(p.padding))
			pr.missed = origin.Number
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
