package forwarding_test

import (
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

const second = 1 << 32 // of NTP's format

// Hazard 12: a new SSRC goes on one second later, since one second went by.
func TestTimelineOfSSRCs(t *testing.T) {
	line := forwarding.NewTimeline(media.Video)
	place := func(ssrc, timestamp, want uint32) {
		t.Helper()
		if at := timestamp + line.Receive(0, ssrc, timestamp, time.Second); at != want {
			t.Errorf("%d of SSRC %d is placed at %d, want %d", timestamp, ssrc, at, want)
		}
	}
	place(1, 5000, 5000)
	place(2, 1<<31, 95_000)
	place(2, 1<<31+3000, 98_000)
	place(2, 1<<31, 95_000) // late
	place(1, 8000, 188_000)
	place(1, 11_000, 191_000)
}

// Hazard 13: audio of a new SSRC, across the wrap-around of timestamps.
func TestTimelineWraps(t *testing.T) {
	line := forwarding.NewTimeline(media.Audio)
	line.Receive(0, 1, 4_294_967_000, 0)
	want := uint32(4_294_967_000 + 960 - 1<<32)
	if at := 77 + line.Receive(0, 2, 77, 20*time.Millisecond); at != want || 77+line.Offset(0) != want {
		t.Errorf("placed at %d, want %d", at, want)
	}
}

// Layers are placed by arrival until both have been reported, and by their reports from
// then on, as far as these can be true.
func TestTimelineOfLayers(t *testing.T) {
	for name, test := range map[string]struct {
		apart int64  // by the reports, in NTP's format
		want  uint32 // where the second layer's timestamp 700,000 is placed
	}{
		"of one instant":     {0, 1000},
		"half a second late": {second / 2, 46_000},
		"before the other":   {-second / 2, 4_294_923_296},
		"an hour apart":      {3600 * second, 1000 + 4500},
	} {
		t.Run(name, func(t *testing.T) {
			line := forwarding.NewTimeline(media.Video)
			line.Receive(0, 1, 1000, 0)
			line.Receive(2, 3, 700_000, 50*time.Millisecond)
			if at := 700_000 + line.Offset(2); at != 1000+4500 {
				t.Fatalf("by arrival it is placed at %d, want %d", at, 1000+4500)
			}
			if line.Report(1, forwarding.Report{NTPTime: 5}) {
				t.Error("a report of a layer that nothing came of was taken in")
			}
			line.Report(0, forwarding.Report{NTPTime: 100 * second, RTPTime: 1000})
			if at := 700_000 + line.Offset(2); at != 1000+4500 {
				t.Errorf("after one layer's report it is placed at %d", at)
			}
			line.Report(2, forwarding.Report{NTPTime: uint64(100*second + test.apart), RTPTime: 700_000})
			if at := 700_000 + line.Offset(2); at != test.want || line.Offset(0) != 0 {
				t.Errorf("placed at %d, want %d; the other at %d", at, test.want, line.Offset(0))
			}
		})
	}
}

// Reports that lie move a layer by so much, however many they are.
func TestTimelineOfLyingReports(t *testing.T) {
	line := forwarding.NewTimeline(media.Video)
	line.Receive(0, 1, 1000, 0)
	line.Receive(1, 2, 1000, 0)
	guess := line.Offset(1)
	line.Report(0, forwarding.Report{NTPTime: 1000 * second, RTPTime: 1000})
	for i := range uint64(100) {
		line.Report(1, forwarding.Report{NTPTime: (1000 + 4*i) * second, RTPTime: 1000})
	}
	if moved := time.Duration(int32(line.Offset(1)-guess)) * time.Second / 90_000; moved > 5*time.Second {
		t.Errorf("the layer was moved by %v", moved)
	}
}

// A layer that goes on under another SSRC is placed by that one's reports.
func TestTimelineOfALayersNextSSRC(t *testing.T) {
	line := forwarding.NewTimeline(media.Video)
	line.Receive(0, 1, 1000, 0)
	line.Receive(1, 2, 0, 0)
	line.Report(0, forwarding.Report{NTPTime: second, RTPTime: 1000})
	line.Report(1, forwarding.Report{NTPTime: second, RTPTime: 0})
	line.Receive(0, 9, 50_000, time.Second) // the anchor's
	line.Receive(1, 2, 90_000, 0)
	if at := 90_000 + line.Offset(1); at != 91_000 {
		t.Errorf("the other layer is placed at %d, want 91000", at)
	}
	line.Report(0, forwarding.Report{NTPTime: 2 * second, RTPTime: 50_000})
	line.Report(1, forwarding.Report{NTPTime: 2 * second, RTPTime: 90_000})
	if first, second := 50_000+line.Offset(0), 90_000+line.Offset(1); first != second {
		t.Errorf("one instant is at %d and at %d", first, second)
	}
}
