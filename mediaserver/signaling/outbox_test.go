package signaling

import "testing"

// What waits is bounded, but one message may always wait, however long: an offer is as long as its channel is large.
func TestOutboxIsBounded(t *testing.T) {
	o := newOutbox()
	long := make([]byte, 2*maxQueuedBytes)
	if !o.put(long) {
		t.Error("a long message may not wait alone")
	}
	if o.put([]byte("x")) {
		t.Error("another may wait behind it")
	}
	if text, ok := o.take(); !ok || len(text) != len(long) {
		t.Error("it does not come out")
	}
	if !o.put(long[:maxQueuedBytes-1]) || !o.put(long[:1]) || o.put(long[:1]) {
		t.Error("the bound is not where it is said to be")
	}
}
