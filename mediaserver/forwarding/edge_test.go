package forwarding_test

import (
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// step is one thing that happens to an edge, and what must come of it.
type step struct {
	withhold, release forwarding.Reasons
	restart           bool

	in                 uint64 // 0: no packet
	key, marker, empty bool
	want               forwarding.Action
	out                uint16
}

func TestEdge(t *testing.T) {
	const (
		drop    = forwarding.Drop
		hold    = forwarding.Hold
		forward = forwarding.Forward
		paused  = forwarding.Paused
	)
	for name, test := range map[string]struct {
		kind  media.Kind
		first uint16
		steps []step
	}{
		"hazard 1: no gap after a pause between frames": {media.Video, 7, []step{
			{in: 100, key: true, marker: true, want: forward, out: 7},
			{withhold: paused}, {in: 101, want: drop}, {in: 9000, key: true, want: drop}, {release: paused},
			{in: 9001, key: true, marker: true, want: forward, out: 8},
		}},
		"hazard 2: the count stands still for more than half its range": {media.Video, 7, []step{
			{in: 1 << 16, key: true, marker: true, want: forward, out: 7},
			{withhold: paused}, {release: paused},
			{in: 1 << 20, key: true, marker: true, want: forward, out: 8},
		}},
		"hazard 3: late packets from before the pause": {media.Video, 7, []step{
			{in: 100, key: true, want: forward, out: 7}, {in: 103, marker: true, want: forward, out: 10},
			{withhold: paused}, {release: paused},
			{in: 102, key: true, want: drop}, {in: 103, key: true, want: drop},
			{in: 110, key: true, want: forward, out: 11}, {in: 109, want: drop}, {in: 101, want: drop},
		}},
		"hazard 9: nothing before the keyframe": {media.Video, 7, []step{
			{in: 100, want: hold}, {in: 101, marker: true, want: hold}, {in: 102, key: true, want: forward, out: 7},
		}},
		"hazard 10: what overtook the keyframe's first packet is held, then follows": {media.Video, 7, []step{
			{in: 101, want: hold}, {in: 102, marker: true, want: hold}, {in: 100, key: true, want: forward, out: 7},
			{in: 101, want: forward, out: 8}, {in: 102, marker: true, want: forward, out: 9},
		}},
		"hazard 11: one number is missing after a cut inside a frame": {media.Video, 7, []step{
			{in: 100, key: true, want: forward, out: 7},
			{withhold: paused}, {release: paused}, {withhold: paused}, {release: paused},
			{in: 200, key: true, want: forward, out: 9},
		}},
		"a new run of the sender that the edge was not told of": {media.Video, 7, []step{
			{in: 1 << 16, key: true, marker: true, want: forward, out: 7},
			{in: 1<<16 + 1<<15 - 1, marker: true, want: forward, out: 7 + 1<<15 - 1}, // just near enough
			{in: 3 << 16, want: hold}, {in: 3<<16 + 1, key: true, marker: true, want: forward, out: 7 + 1<<15},
		}},
		"a straggler of the run before, in audio": {media.Audio, 7, []step{
			{in: 1 << 16, key: true, want: forward, out: 7}, {in: 3 << 16, key: true, want: forward, out: 8},
			{in: 1<<16 + 1, key: true, want: drop}, {in: 3<<16 + 1, key: true, want: forward, out: 9},
		}},
		"hazard 16: no reason erases another": {media.Video, 7, []step{
			{withhold: paused | forwarding.NoTable}, {release: forwarding.NoTable}, {in: 100, key: true, want: drop},
			{withhold: forwarding.NoTable}, {release: paused}, {in: 101, key: true, want: drop},
			{release: forwarding.NoTable}, {in: 102, key: true, want: forward, out: 7},
		}},
		"hazard 23: audio needs no keyframe, and its marker ends no frame": {media.Audio, 7, []step{
			{in: 100, key: true, want: forward, out: 7},
			{withhold: paused}, {in: 101, key: true, want: drop}, {release: paused},
			{in: 102, key: true, want: forward, out: 8},
		}},
		"hazard 25: toggles leave no trace": {media.Video, 7, []step{
			{in: 100, key: true, marker: true, want: forward, out: 7},
			{withhold: paused}, {withhold: paused}, {release: paused}, {release: paused}, {withhold: paused}, {release: paused},
			{in: 101, want: hold}, {in: 102, key: true, want: forward, out: 8},
		}},
		"the sender's gaps and reordering are kept": {media.Video, 7, []step{
			{in: 100, key: true, want: forward, out: 7}, {in: 103, want: forward, out: 10},
			{in: 102, want: forward, out: 9}, {in: 104, want: forward, out: 11},
		}},
		"a copy gets the same number": {media.Video, 7, []step{
			{in: 100, key: true, want: forward, out: 7}, {in: 101, want: forward, out: 8},
			{in: 101, want: forward, out: 8}, {in: 100, key: true, want: forward, out: 7},
		}},
		"a late packet does not reopen a frame": {media.Video, 7, []step{
			{in: 100, key: true, want: forward, out: 7}, {in: 102, marker: true, want: forward, out: 9}, {in: 101, want: forward, out: 8},
			{withhold: paused}, {release: paused}, {in: 110, key: true, want: forward, out: 10},
		}},
		"padding keeps its number, starts nothing and ends no frame": {media.Video, 7, []step{
			{in: 99, key: true, empty: true, want: hold},
			{in: 100, key: true, marker: true, want: forward, out: 7}, {in: 101, empty: true, want: forward, out: 8},
			{withhold: paused}, {release: paused}, {in: 110, key: true, want: forward, out: 9},
		}},
		"padding does not complete a half frame": {media.Video, 7, []step{
			{in: 100, key: true, want: forward, out: 7}, {in: 101, empty: true, marker: true, want: forward, out: 8},
			{withhold: paused}, {release: paused}, {in: 110, key: true, want: forward, out: 10},
		}},
		"a new run of the sender begins with a keyframe": {media.Video, 7, []step{
			{in: 100, key: true, marker: true, want: forward, out: 7},
			{restart: true}, {in: 200_000, want: hold}, {in: 200_001, key: true, want: forward, out: 8},
		}},
		"our numbers wrap": {media.Video, 65534, []step{
			{in: 100, key: true, want: forward, out: 65534}, {in: 102, marker: true, want: forward, out: 0}, {in: 101, want: forward, out: 65535},
			{withhold: paused}, {release: paused}, {in: 110, key: true, want: forward, out: 1},
		}},
		"the gap of a half frame wraps": {media.Video, 65535, []step{
			{in: 100, key: true, want: forward, out: 65535},
			{withhold: paused}, {release: paused}, {in: 110, key: true, want: forward, out: 1},
		}},
		"the sender's numbers wrap": {media.Video, 7, []step{
			{in: 1<<17 - 1, key: true, want: forward, out: 7}, {in: 1<<17 + 1, want: forward, out: 9}, {in: 1 << 17, want: forward, out: 8},
		}},
		"first number 0": {media.Video, 0, []step{
			{in: 100, key: true, want: forward, out: 0}, {in: 101, want: forward, out: 1},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := forwarding.NewEdge(test.kind, test.first)
			for i, s := range test.steps {
				e = e.Withhold(s.withhold).Release(s.release)
				if s.restart {
					e = e.Restart()
				}
				if s.in == 0 {
					continue
				}
				var d forwarding.Decision
				e, d = e.Decide(forwarding.Packet{SequenceNumber: s.in, Timestamp: 5, Marker: s.marker, KeyframeStart: s.key, Empty: s.empty})
				if d.Action != s.want || d.Action == forwarding.Forward && (d.SequenceNumber != s.out || d.Timestamp != 5 || d.Marker != s.marker) {
					t.Fatalf("event %d: packet %d: %+v, want action %d with number %d", i, s.in, d, s.want, s.out)
				}
			}
		})
	}
}

// Hazard 4: what was sent before the cut is not sent again after it.
func TestSourceOfOutgoingNumbers(t *testing.T) {
	e := forwarding.NewEdge(media.Video, 65535)
	decide := func(in uint64, key, marker bool) {
		e, _ = e.Decide(forwarding.Packet{SequenceNumber: in, KeyframeStart: key, Marker: marker})
	}
	check := func(out uint16, in uint64, ok bool) {
		t.Helper()
		if gotIn, gotOK := e.Source(out); gotOK != ok || gotIn != in {
			t.Errorf("Source(%d) = %d, %v; want %d, %v", out, gotIn, gotOK, in, ok)
		}
	}
	check(65535, 0, false)
	decide(1000, true, false)
	decide(1002, false, false)
	check(65534, 0, false)
	check(65535, 1000, true)
	check(0, 1001, true) // lost on the way to us; should it arrive late it has this number
	check(1, 1002, true)
	check(2, 0, false)
	e = e.Withhold(forwarding.Paused)
	check(1, 0, false)
	e = e.Release(forwarding.Paused)
	check(1, 0, false)
	decide(2000, true, false)
	check(1, 0, false)
	check(2, 0, false) // left out after the half frame
	check(3, 2000, true)
	if last, ok := e.LastSequenceNumber(); last != 3 || !ok {
		t.Errorf("LastSequenceNumber() = %d, %v; want 3, true", last, ok)
	}
}
