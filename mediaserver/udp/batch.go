package udp

import "sync/atomic"

// MaxDatagram is the most bytes a datagram in a batch can have: Ethernet's MTU, which no datagram that avoids
// fragmentation exceeds.
const MaxDatagram = 1500

const (
	// arenaBytes is the memory of a batch: enough for Room(2*MaxBurst), and little enough to stay in a processor's
	// second cache, from which the kernel copies. Measured with 192 to 1,024 KiB, a datagram costs the same.
	arenaBytes = 256 << 10
	// maxTrains is the most trains of datagrams in a batch.
	maxTrains = 1024

	// maxSegments is the most datagrams in a train; Linux allows 64, and 65,487 bytes. Sending 1,128 bytes to one of 50
	// receivers over loopback took, in processor time and in trains of 1, 4, 8, 16, 24, 32 and 64: 3.6, 2.0, 1.4, 1.1,
	// 1.1, 1.1 and 1.1 us. Beyond 24 a longer train only loses more when a queue on the way has no room for it.
	maxSegments = 32
)

// Batch collects datagrams on their way to the kernel. One goroutine uses it at a time.
type Batch struct {
	worker  int
	carrier carrier

	arena  []byte
	used   int
	trains []train
	last   *train // The last of trains, or none.
	none   train

	// sequence is odd while the batch is being filled; see quiescence.
	sequence   atomic.Uint64
	quiescence *quiescence
}

// train is consecutive datagrams to one destination, of equal sizes except that the last may be smaller. They lie in
// the arena one behind the other, as UDP_SEGMENT needs them.
type train struct {
	destination *Destination
	begin, end  int // In the arena.
	segment     int // Bytes of each datagram but the last.
	limit       int // The end may not grow beyond; 0 when the last datagram was a smaller one.
}

func (t *train) datagrams() int { return (t.end - t.begin + t.segment - 1) / t.segment }

// carrier takes the trains of a batch to the kernel.
type carrier interface {
	carry(arena []byte, trains []train)
}

func newBatch(worker int, carrier carrier) *Batch {
	b := &Batch{
		worker:  worker,
		carrier: carrier,
		arena:   make([]byte, arenaBytes),
		trains:  make([]train, 0, maxTrains),
	}
	b.last = &b.none

	return b
}

// NewBatch is a batch without a socket, for tests: Flush hands each datagram to send in order, and discards it if send
// is nil. The destinations may be nil.
func NewBatch(worker int, send func(datagram []byte, destination *Destination)) *Batch {
	if send == nil {
		send = func([]byte, *Destination) {}
	}

	return newBatch(worker, each(send))
}

// each is the carrier that hands on every datagram on its own.
type each func(datagram []byte, destination *Destination)

func (send each) carry(arena []byte, trains []train) {
	for i := range trains {
		t := &trains[i]
		for begin := t.begin; begin < t.end; begin += t.segment {
			end := min(begin+t.segment, t.end)
			send(arena[begin:end:end], t.destination)
		}
	}
}

// Worker is the number of the worker that the batch belongs to.
func (b *Batch) Worker() int { return b.worker }

// Room flushes unless n more datagrams of up to MaxDatagram bytes fit; n is at most 2*MaxBurst. It is to be called with
// no lock held, since a flush takes the time of many datagrams.
//
// A flush lets Quiesce return: what was decided before Room must be decided anew after it.
func (b *Batch) Room(n int) {
	if len(b.arena)-b.used < n*MaxDatagram || cap(b.trains)-len(b.trains) < n {
		b.Flush()
	}
}

// Append adds a datagram of size bytes and returns its memory, which the caller fills before anything else is done with
// the batch. It is nil when there is no room, or when size is not between 1 and MaxDatagram. Consecutive datagrams to
// one destination of equal sizes, of which the last may be smaller, go through the kernel as one.
func (b *Batch) Append(destination *Destination, size int) []byte {
	begin := b.used
	end := begin + size
	if size < 1 || size > MaxDatagram || end > len(b.arena) {
		return nil
	}

	last := b.last
	switch {
	case destination != last.destination || size > last.segment || end > last.limit:
		if len(b.trains) == cap(b.trains) {
			return nil
		}
		b.trains = append(b.trains, train{
			destination: destination,
			begin:       begin,
			end:         end,
			segment:     size,
			limit:       begin + maxSegments*size,
		})
		b.last = &b.trains[len(b.trains)-1]
	case size < last.segment:
		last.end, last.limit = end, 0
	default:
		last.end = end
	}
	b.used = end

	return b.arena[begin:end:end]
}

// Flush hands the datagrams to the kernel, in order. What the kernel refuses is lost, as it may be on the way too, and
// counted in Stats.
func (b *Batch) Flush() {
	b.carry()
	b.advance(2)
}

func (b *Batch) carry() {
	if len(b.trains) == 0 {
		return
	}
	b.carrier.carry(b.arena, b.trains)
	b.trains, b.used, b.last = b.trains[:0], 0, &b.none
}
