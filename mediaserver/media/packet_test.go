package media

import (
	"testing"
	"time"
)

func TestSendTime(t *testing.T) {
	for passed, want := range map[time.Duration]uint32{
		0: 0, time.Second: 1 << 18, 1500 * time.Millisecond: 3 << 17, 63 * time.Second: 63 << 18,
		64 * time.Second: 0, 24*time.Hour + time.Second: 1 << 18, time.Millisecond: 262,
	} {
		if got := SendTime(origin.Add(passed)); got != want {
			t.Errorf("after %v: %#x, want %#x", passed, got, want)
		}
	}
}
