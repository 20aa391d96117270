package transportcc

import (
	"testing"
	"time"
)

// BenchmarkArrivals is a sender of 250 packets a second with feedback each tenth of a second.
func BenchmarkArrivals(b *testing.B) {
	var a Arrivals
	memory := make([]byte, 0, MaxFeedbackBytes)
	b.ReportAllocs()
	for n := uint16(0); b.Loop(); n++ {
		if waiting := a.Record(n, time.Duration(n)*4*time.Millisecond); waiting == 25 {
			memory = a.AppendFeedback(memory[:0], 1, 2)
		}
	}
}

func TestArrivalsDoNotAllocate(t *testing.T) {
	var a Arrivals
	memory := make([]byte, 0, MaxFeedbackBytes)
	n := uint16(0)
	if allocs := testing.AllocsPerRun(100, func() {
		for range 100 {
			n += 1 + n%3
			a.Record(n, time.Duration(n)*time.Millisecond)
		}
		for a.Waiting() > 0 {
			memory = a.AppendFeedback(memory[:0], 1, 2)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations for 100 packets and their feedback", allocs)
	}
}
