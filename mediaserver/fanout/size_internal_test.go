package fanout

import (
	"testing"
	"unsafe"
)

// A media server has as many edges as pairs of members, so they stay small.
func TestEdgeIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Edge{}); size > 512 {
		t.Errorf("an edge takes %d bytes, want 512 at most", size)
	}
}
