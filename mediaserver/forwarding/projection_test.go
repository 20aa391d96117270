package forwarding_test

import (
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

// step is one thing that happens to a projection, and what must come of it.
type step struct {
	withhold, release forwarding.Reasons
	restart           bool
	choose            media.Layer // if it is not 0, the layer before it is wanted from now on

	in                 uint64 // 0: no packet
	layer              media.Layer
	time               uint32
	key, marker, empty bool
	want               forwarding.Action
	out                uint16
	at                 uint32 // the timestamp that it leaves with
}

// decide has a projection decide, and what is decided sent.
func decide(pr *forwarding.Projection, p forwarding.Packet) forwarding.Decision {
	d := pr.Decide(&p)
	switch {
	case d.Action == forwarding.Forward, d.Action == forwarding.Start:
		pr.Forwarded(&p, d)
	case d.Cut:
		pr.Restart()
	}

	return d
}

func TestProjection(t *testing.T) {
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
		"a new run of the sender that the projection was not told of": {media.Video, 7, []step{
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
			{in: 100, key: true, want: forward, out: 7}, {in: 102, marker: true, want: forward, out: 9},
			{in: 101, want: forward, out: 8},
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
			{in: 100, key: true, want: forward, out: 65534}, {in: 102, marker: true, want: forward, out: 0},
			{in: 101, want: forward, out: 65535},
			{withhold: paused}, {release: paused}, {in: 110, key: true, want: forward, out: 1},
		}},
		"the gap of a half frame wraps": {media.Video, 65535, []step{
			{in: 100, key: true, want: forward, out: 65535},
			{withhold: paused}, {release: paused}, {in: 110, key: true, want: forward, out: 1},
		}},
		"the sender's numbers wrap": {media.Video, 7, []step{
			{in: 1<<17 - 1, key: true, want: forward, out: 7}, {in: 1<<17 + 1, want: forward, out: 9},
			{in: 1 << 17, want: forward, out: 8},
		}},
		"another layer follows at its keyframe, the present one until then": {media.Video, 7, []step{
			{in: 100, time: 3000, key: true, marker: true, want: forward, out: 7, at: 3000},
			{choose: 3, in: 900, layer: 2, time: 6000, marker: true, want: hold}, {in: 500, layer: 1, key: true, want: drop},
			{in: 101, time: 6000, marker: true, want: forward, out: 8, at: 6000},
			{in: 901, layer: 2, time: 9000, key: true, want: forward, out: 9, at: 9000}, {in: 102, time: 9000, want: drop},
			{in: 902, layer: 2, time: 9000, marker: true, want: forward, out: 10, at: 9000},
			{in: 101, time: 6000, key: true, want: drop},
		}},
		"a half frame of the layer before": {media.Video, 7, []step{
			{in: 100, time: 3000, key: true, want: forward, out: 7},
			{choose: 2, in: 900, layer: 1, time: 6000, key: true, want: forward, out: 9},
		}},
		"the wanted layer's keyframe of an instant that was sent": {media.Video, 7, []step{
			{in: 100, time: 3000, key: true, marker: true, want: forward, out: 7, at: 3000},
			{choose: 2, in: 900, layer: 1, time: 3000, key: true, marker: true, want: forward, out: 8, at: 3001},
			{in: 901, layer: 1, time: 6000, marker: true, want: forward, out: 9, at: 6001},
			{choose: 1, in: 102, time: 9000, key: true, marker: true, want: forward, out: 10, at: 9000},
		}},
		"a pause stands above a choice, and resumes on what is wanted then": {media.Video, 7, []step{
			{in: 100, time: 3000, key: true, marker: true, want: forward, out: 7},
			{withhold: paused}, {choose: 3}, {in: 900, layer: 2, key: true, want: drop}, {in: 101, key: true, want: drop},
			{release: paused}, {in: 102, key: true, want: drop}, {in: 901, layer: 2, want: hold},
			{in: 902, layer: 2, time: 9000, key: true, want: forward, out: 8},
		}},
		"a choice taken back": {media.Video, 7, []step{
			{in: 100, time: 3000, key: true, marker: true, want: forward, out: 7}, {choose: 2}, {choose: 1},
			{in: 900, layer: 1, key: true, want: drop}, {in: 101, time: 6000, want: forward, out: 8},
		}},
		"a new run of the present layer ends at the wanted one's keyframe": {media.Video, 7, []step{
			{in: 1 << 16, time: 3000, key: true, marker: true, want: forward, out: 7}, {choose: 2, in: 3 << 16, want: drop},
			{in: 900, layer: 1, time: 6000, key: true, want: forward, out: 8},
		}},
		"first number 0": {media.Video, 0, []step{
			{in: 100, key: true, want: forward, out: 0}, {in: 101, want: forward, out: 1},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			pr := forwarding.NewProjection(test.kind, test.first)
			for i, s := range test.steps {
				pr.Withhold(s.withhold)
				pr.Release(s.release)
				if s.restart {
					pr.Restart()
				}
				if s.choose != 0 {
					pr.Want(s.choose - 1)
				}
				if s.in == 0 {
					continue
				}
				d := decide(&pr, forwarding.Packet{
					SequenceNumber: s.in, Timestamp: s.time, Layer: s.layer, Marker: s.marker, KeyframeStart: s.key, Empty: s.empty,
				})
				if d.Action == forwarding.Start {
					d.Action = forward
				}
				if d.Action != s.want || d.Action == forward && (uint16(d.SequenceNumber) != s.out || d.Marker != s.marker) {
					t.Fatalf("event %d: packet %d: %+v, want action %d with number %d", i, s.in, d, s.want, s.out)
				}
				if s.at != 0 && d.Timestamp != s.at {
					t.Fatalf("event %d: packet %d: at %d, want %d", i, s.in, d.Timestamp, s.at)
				}
			}
		})
	}
}
