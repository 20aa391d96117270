package lifecycle_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/nagi-rtc/nagi/controllers/lifecycle"
)

// Claims that are left over are collected by the one in office, for as long as it is.
func TestTheOneInOfficeCollectsClaims(t *testing.T) {
	ns := namespace(t)
	known := newActing(t, ns)
	var collecting [2]atomic.Int32
	collector := func(i int) func(*lifecycle.Config) {
		return func(c *lifecycle.Config) {
			c.Collect = func(ctx context.Context) {
				collecting[i].Add(1)
				<-ctx.Done()
				collecting[i].Add(-1)
			}
		}
	}
	first := elect(t, plane.Config, known, ns, collector(0))
	eventually(t, "the first collects", func() bool { return first.inOffice(t) && collecting[0].Load() == 1 })
	second := elect(t, plane.Config, known, ns, collector(1))
	if collecting[1].Load() != 0 {
		t.Error("two collect")
	}
	first.stop()
	if collecting[0].Load() != 0 {
		t.Error("it collects after its end")
	}
	eventually(t, "the second collects", func() bool { return second.inOffice(t) && collecting[1].Load() == 1 })
}
