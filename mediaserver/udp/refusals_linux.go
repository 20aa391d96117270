package udp

import (
	"sync/atomic"
	"time"
)

// refusalHold is for how long trains that were refused are not tried again: an IPsec policy goes, the MTU of a path
// grows, the route leads over another interface. A try in vain costs one system call.
const refusalHold = 10 * time.Second

// refusals is what the kernel does not send as a train to one destination. It is a matter of the destination, and not
// of the socket, because the MTU of the path and the abilities of the interface are: one that cannot segment, or IPsec
// on the way, must not cost the other peers their trains.
type refusals struct {
	least atomic.Uint32 // The least segment size that was refused, in bytes; 0: none.
	last  atomic.Int64  // When that was last, in nanoseconds since began.
}

// began is what times are measured from: by the clock that nobody sets.
var began = time.Now()

// joins says whether datagrams of this size may go to the destination as a train.
func (r *refusals) joins(segment int) bool {
	least := r.least.Load()
	if least == 0 || segment < int(least) {
		return true
	}
	if time.Since(began)-time.Duration(r.last.Load()) < refusalHold {
		return false
	}
	r.least.CompareAndSwap(least, 0)

	return true
}

// refuse remembers that the kernel refused a train of datagrams of this size.
func (r *refusals) refuse(segment int) {
	r.last.Store(int64(time.Since(began)))
	for least := r.least.Load(); least == 0 || segment < int(least); least = r.least.Load() {
		if r.least.CompareAndSwap(least, uint32(segment)) {
			return
		}
	}
}
