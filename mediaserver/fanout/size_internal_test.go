package fanout

import (
	"testing"
	"unsafe"
)

// A media server has as many edges as pairs of members, so they stay small.
func TestEdgeIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Edge{}); size > 2048 {
		t.Errorf("an edge takes %d bytes, want 2048 at most", size)
	}
}
