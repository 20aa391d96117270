package udp

import (
	"sync"
	"sync/atomic"
)

// quiescence waits for batches. A pause is in force only when no datagram decided upon before it can still leave, so
// the one that withdraws a receiver from the fan-out then waits until whoever may have read the state before the
// withdrawal has handed its datagrams to the kernel.
//
// Each batch has a sequence number. It is odd from before the first state is read until after the last datagram is in
// the kernel, and is advanced by two at a flush in between; of an idle batch it is even. Nobody holds a lock across a
// system call, and the filling of a batch costs two atomic additions and a load.
//
// Why nothing is missed: Go's atomic operations behave as if in one order. Let a filling goroutine F make the sequence
// odd and then read the state, and let Q change the state and then read the sequence. If F read the state from before
// the change, then F's addition comes before F's read, that before Q's change, and that before Q's read: Q sees the odd
// number (or a later one, when F has flushed), and waits until it has changed, which F does only after its system call.
// If Q sees an even number, F is done, or its addition comes later and it reads the new state. It is the same when the
// state is under a mutex instead: if F's critical section is the earlier one, F's addition happens before Q's read. And
// no wake-up is lost: either the advancing goroutine sees Q among the waiters, or Q, which enters itself first, sees
// the advanced sequence; Q holds the mutex from that look until it sleeps.
//
// A flush in between lets Q go on although F does too. So after a flush, which Room may make, F must read the state
// anew before it adds what depends on it.
type quiescence struct {
	batches []*Batch

	waiters atomic.Int32
	mutex   sync.Mutex
	changed sync.Cond
}

// watch makes the batch one that Quiesce waits for.
func (q *quiescence) watch(b *Batch) {
	q.changed.L = &q.mutex
	q.batches = append(q.batches, b)
	b.quiescence = q
}

// Quiesce returns when every batch that was being filled when it was called has been handed to the kernel; a flush
// while it is being filled counts. It is never to be called from receive or from a job, which would wait for
// themselves. It takes no lock when nothing is being filled.
func (s *Socket) Quiesce() { s.quiescence.wait() }

func (q *quiescence) wait() {
	// The numbers are of one moment, so that batches that are begun during the wait are not waited for.
	seen := make([]uint64, len(q.batches))
	for i, b := range q.batches {
		seen[i] = b.sequence.Load()
	}
	for i, b := range q.batches {
		if seen[i]%2 == 1 {
			q.await(b, seen[i])
		}
	}
}

func (q *quiescence) await(b *Batch, seen uint64) {
	q.waiters.Add(1)
	defer q.waiters.Add(-1)
	q.mutex.Lock()
	defer q.mutex.Unlock()
	for b.sequence.Load() == seen {
		q.changed.Wait()
	}
}

// begin is called before anything is read that decides what goes into the batch.
func (b *Batch) begin() { b.sequence.Add(1) }

// end flushes, and says that nothing more will be put into the batch on what has been read.
func (b *Batch) end() {
	b.carry()
	b.advance(1)
}

func (b *Batch) advance(by uint64) {
	b.sequence.Add(by)
	q := b.quiescence
	if q == nil || q.waiters.Load() == 0 {
		return
	}
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.changed.Broadcast()
}
