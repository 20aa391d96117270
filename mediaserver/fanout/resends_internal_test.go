package fanout

import (
	"testing"
	"time"
)

// A receiver that loses everything for hours is remembered with no more than the
// packets that it may ask for, and as many that it no longer may.
func TestResendsAreRememberedWithinBounds(t *testing.T) {
	var r resends
	now := time.Now()
	for n := uint64(storeSize); n < 20*storeSize; n++ {
		if !r.allow(n, 1000, uint32(n)*1000, n-storeSize+1, now) {
			t.Fatalf("packet %d is not sent again", n)
		}
		if len(r.packets) > 2*storeSize {
			t.Fatalf("%d packets are remembered", len(r.packets))
		}
	}
	if r.packets[19*storeSize+1].times != 1 {
		t.Error("a packet that may be asked for still is forgotten")
	}
}
