//go:build linux

package main

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"time"
)

// The last bytes of every payload but eight (those number it) tell when it was
// sent. They are behind whatever a server rewrites, and sealed on the way.
const sendTimeFromEnd = 16

// stampSendTime writes the wall clock, since that is what the kernel's arrival
// times are in: within one machine and some milliseconds it is as good as the
// monotonic clock.
func stampSendTime(payload []byte) {
	now := uint64(time.Now().UnixNano()) //nolint:gosec // After 1970.
	binary.BigEndian.PutUint64(payload[len(payload)-sendTimeFromEnd:], now)
}

// sendTime is for payloads of sendTimeFromEnd bytes or more.
func sendTime(payload []byte) int64 {
	return int64(binary.BigEndian.Uint64(payload[len(payload)-sendTimeFromEnd:])) //nolint:gosec // As written above.
}

// delayBuckets are 32 to each power of two, so that a delay is told to 3 %.
const (
	delayBucketBits = 5
	delayBuckets    = (41 - delayBucketBits) << delayBucketBits // To half an hour.
)

// delays is a histogram of nanoseconds that many goroutines add to.
type delays [delayBuckets]atomic.Uint64

func (d *delays) add(nanoseconds int64) {
	d[delayBucket(uint64(max(0, nanoseconds)))].Add(1) //nolint:gosec // Not negative.
}

func (d *delays) counts() []uint64 {
	counts := make([]uint64, 0, delayBuckets)
	last := 0
	for i := range d {
		counts = append(counts, d[i].Load())
		if counts[i] > 0 {
			last = i + 1
		}
	}

	return counts[:last]
}

func delayBucket(nanoseconds uint64) int {
	exponent := bits.Len64(nanoseconds >> delayBucketBits)
	if exponent == 0 {
		return int(nanoseconds) //nolint:gosec // Below 32.
	}
	// The leading bit is told by the exponent.
	mantissa := nanoseconds>>(exponent-1) - 1<<delayBucketBits

	return min(exponent<<delayBucketBits+int(mantissa), delayBuckets-1) //nolint:gosec // Below 32.
}

// delayOf is the upper end of a bucket.
func delayOf(bucket int) time.Duration {
	exponent, mantissa := bucket>>delayBucketBits, bucket&(1<<delayBucketBits-1)
	if exponent == 0 {
		return time.Duration(mantissa)
	}

	return time.Duration((1<<delayBucketBits+mantissa+1)<<(exponent-1) - 1)
}

// delaySummary is what two readings of a histogram tell of the time between
// them; nil: no packet was timed.
type delaySummary struct{ p50, p99, max time.Duration }

func summarizeDelays(first, last []uint64) *delaySummary {
	var total uint64
	between := make([]uint64, len(last))
	for i := range last {
		between[i] = last[i]
		if i < len(first) {
			between[i] -= first[i]
		}
		total += between[i]
	}
	if total == 0 {
		return nil
	}
	at := func(rank uint64) time.Duration {
		for i, n := range between {
			if rank < n {
				return delayOf(i)
			}
			rank -= n
		}

		return 0
	}

	return &delaySummary{p50: at(total / 2), p99: at(total * 99 / 100), max: at(total - 1)}
}
