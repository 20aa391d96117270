package fanout

import (
	"testing"
	"unsafe"
)

// A media server has as many projections as pairs of members, so they stay small.
func TestProjectionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Projection{}); size > 512 {
		t.Errorf("a projection takes %d bytes, want 512 at most", size)
	}
}
