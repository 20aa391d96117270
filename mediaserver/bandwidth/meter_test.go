package bandwidth

import (
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	var m Meter
	if rate := m.Rate(start); rate != 0 {
		t.Errorf("nothing came: %d bit/s", rate)
	}
	now := start
	for range 100 { // 3 s of 1 Mbit/s
		m.Add(3_750, now)
		now = now.Add(30 * time.Millisecond)
	}
	if rate := m.Rate(now); rate < 950_000 || rate > 1_080_000 {
		t.Errorf("1 Mbit/s is measured as %d bit/s", rate)
	}
	m.Add(100_000, now) // a keyframe
	if rate := m.Rate(now); rate > 1_080_000 {
		t.Errorf("%d bit/s with the first packet of a second", rate)
	}
	if rate := m.Rate(now.Add(10 * time.Second)); rate != 0 {
		t.Errorf("of what is silent: %d bit/s", rate)
	}
	m.Add(1_250, now.Add(20*time.Second))
	if rate := m.Rate(now.Add(20*time.Second + 200*time.Millisecond)); rate != 50_000 {
		t.Errorf("after a silence: %d bit/s, want what has come since", rate)
	}
	if n := testing.AllocsPerRun(1000, func() { now = now.Add(time.Millisecond); m.Add(1000, now) }); n != 0 {
		t.Errorf("%v allocations a burst", n)
	}
}
