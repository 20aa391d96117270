package fanout

import (
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// defaultHandOver is a quarter of a millisecond's work: a packet costs about a microsecond to
// seal and send. To wake a goroutine on another thread, to copy the burst for it and to
// give its packets system calls of their own costs ten to twenty. A reader that keeps up
// finds short bursts, and walks them alone; as it falls behind they grow, and the
// other workers are called in.
const defaultHandOver = 256

// ReceiveRTP forwards a burst of the sender's packets. The goroutine that reads from the
// sender calls it, with its batch; the packets are valid only during the call. Two
// goroutines may be at it for a moment, as when the sender's address changes: nothing
// but the order of packets suffers, and forwarding.Projection keeps their numbers right
// in any order.
func (t *Track) ReceiveRTP(batch *udp.Batch, packets []media.Received) {
	for len(packets) > 0 {
		n := 1
		for n < min(len(packets), udp.MaxBurst) && packets[n].Layer == packets[0].Layer { // Room has no more at once
			n++
		}
		t.receive(batch, packets[:n])
		packets = packets[n:]
	}
}

// receive forwards packets of one layer.
func (t *Track) receive(batch *udp.Batch, packets []media.Received) {
	b := t.takeIn(packets)
	if b.restarted { // said here, with no lock held
		t.config.Log.Debug("sender began a new run of sequence numbers", "ssrc", packets[0].SSRC)
	}
	if len(b.arrivals) == 0 {
		b.recycle()

		return
	}
	if b.layers {
		t.aim(b)
	}
	if b.keyframe && t.keyframes != nil {
		b.wishes = t.keyframes.wished(b.layer) // before any snapshot is looked at
	}
	b.references.Store(1)
	own := t.shardOf(batch.Worker())
	if len(t.shards) > 1 {
		b.handOver(batch, own)
	}
	b.walk(batch, own)
	for i := range t.shards {
		if i != own && !b.handed[i] && b.walk(batch, i) {
			t.shards[i].foreign.Store(true)
		}
	}
	b.done()
}

// handOver has other workers walk their shards. A small one is walked right here,
// unless an earlier burst has not left yet, which would be overtaken.
func (b *burst) handOver(batch *udp.Batch, own int) {
	t := b.track
	handed, overtaking := 0, false
	for i := range t.shards {
		s := &t.shards[i]
		open := len(s.open.Load()[b.layer])
		b.handed[i] = i != own && open > 0 && (open*len(b.arrivals) >= t.config.HandOver || s.pending.Load() > 0)
		if b.handed[i] {
			handed++
			overtaking = s.foreign.Swap(false) || overtaking
		}
	}
	if handed == 0 {
		return
	}
	t.counters.HandedOver.Add(uint64(handed))
	b.own()
	b.references.Add(int32(handed))
	if overtaking {
		batch.Flush() // for it may hold an earlier burst of those projections
	}
	for i := range t.shards {
		if b.handed[i] {
			t.shards[i].pending.Add(1)
			t.config.Workers.Post(i, b)
		}
	}
}

// Run walks the shard of the worker that it was handed over to.
func (b *burst) Run(batch *udp.Batch) {
	own := b.track.shardOf(batch.Worker())
	b.walk(batch, own)
	batch.Flush() // before the next burst may be walked elsewhere
	b.track.shards[own].pending.Add(-1)
	b.done()
}

// walk sends the burst to the projections of one shard, receiver by receiver, so that
// each one's packets form a train that a socket can send at once. It tells whether
// there were any.
func (b *burst) walk(batch *udp.Batch, i int) bool {
	open := b.track.shards[i].open.Load()[b.layer]
	if len(open) == 0 {
		return false
	}
	var counts tally
	waiting := false
	for _, pr := range open {
		waiting = pr.receive(batch, b, &counts) || waiting
	}
	if waiting {
		b.waiting.Store(true)
	}
	counts.addTo(b.track.counters)

	return true
}

// done ends one walk. The last one draws the conclusions, since only then it is
// known what the burst has left open.
func (b *burst) done() {
	if b.references.Add(-1) != 0 {
		return
	}
	t, layer, waiting, layers := b.track, b.layer, b.waiting.Load(), b.layers
	if b.keyframe && t.keyframes != nil {
		t.keyframes.arrived(layer, b.wishes, waiting)
	}
	if b.switched.Load() {
		t.change.Lock()
		t.refresh()
		t.change.Unlock()
	}
	b.recycle()
	if waiting && t.keyframes != nil {
		t.keyframes.ensure(layer)
	}
	if layers { // The keyframes that are on their way with the burst need not be asked for.
		t.followAll()
	}
}
