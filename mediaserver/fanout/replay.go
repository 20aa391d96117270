package fanout

import "github.com/nagi-rtc/nagi/mediaserver/udp"

// copyAtOnce is how many stored packets are copied before they are written: few
// enough that the sender's next burst is not kept waiting for the store.
const copyAtOnce = 16

// replay sends the packets that overtook the one that the projection started with.
// Between two handfuls the lock is let go of to make room; should the projection be cut
// just then, deciding upon the rest says so.
func (pr *Projection) replay(batch *udp.Batch, start *arrival, counts *tally) {
	for from := start.packet.SequenceNumber + 1; ; {
		var held *burst
		held, from = pr.track.overtakers(start, from)
		if held == nil {
			return
		}
		batch.Room(len(held.arrivals))
		before := counts.forwarded
		pr.lock()
		for i := range held.arrivals {
			if !pr.removed {
				pr.forward(batch, &held.arrivals[i], counts)
			}
		}
		pr.publish()
		pr.mu.Unlock()
		counts.replayed += counts.forwarded - before
		held.recycle()
	}
}

// overtakers copies out of the store what came before start though it has a higher
// number, from the number from on; nil if there is nothing. A call with next goes on.
func (t *Track) overtakers(start *arrival, from uint64) (held *burst, next uint64) {
	t.in.Lock()
	defer t.in.Unlock()
	store := &t.layers[start.packet.Layer].store
	end := min(start.packet.SequenceNumber+storeSize, store.highest+1)
	for ; from < end; from++ {
		p := store.get(from)
		if p == nil || p.arrival >= start.number {
			continue
		}
		if held == nil {
			held = t.fetch()
		}
		held.add(p)
		if len(held.arrivals) == copyAtOnce {
			return held, from + 1
		}
	}

	return held, from
}
