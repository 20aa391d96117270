//go:build linux

package main

import (
	"testing"
	"time"
)

// packetsAt are packets of a receiver, their numbers and sequence numbers alike,
// one per millisecond.
func packetsAt(start time.Time, first, last int) []arrival {
	var all []arrival
	for i := first; i <= last; i++ {
		all = append(all, arrival{
			at:     start.Add(time.Duration(i) * time.Millisecond),
			number: uint64(i), sequence: uint16(i), //nolint:gosec // Small.
			marker: i%4 == 0,
		})
	}

	return all
}

func TestTheCutLiesBetweenTheLastPacketAndTheFirstWithheld(t *testing.T) {
	start := time.Now()
	acknowledged := uint16(9)
	l := line{acknowledged: &acknowledged}
	l.noteCut(request{sent: start.Add(5 * time.Millisecond), answered: start.Add(8 * time.Millisecond)},
		packetsAt(start, 1, 10), packetsAt(start, 1, 30))
	if *l.LastPacket != 5000 || *l.FirstWithheld != 6000 {
		t.Errorf("last packet after %d µs, first withheld after %d µs, want 5000 and 6000", *l.LastPacket, *l.FirstWithheld)
	}
	if l.PacketsAfterAnswer != 2 || *l.PacketsBeyond != 1 || !l.CutInsideFrame {
		t.Errorf("%d packets after the answer, %d beyond the acknowledged, inside a frame: %t; want 2, 1, true",
			l.PacketsAfterAnswer, *l.PacketsBeyond, l.CutInsideFrame)
	}
}

func TestTheReturnIsTheKeyframe(t *testing.T) {
	start := time.Now()
	after := packetsAt(start, 20, 24)
	after[2].keyframe = true
	var l line
	l.noteReturn(request{sent: start}, start.Add(time.Millisecond), arrival{sequence: 18}, after)
	if *l.KeyframeRequest != 1000 || *l.Keyframe != 22_000 || l.PacketsBeforeKeyframe != 2 || *l.SequenceGap != 1 {
		t.Errorf("request after %d µs, keyframe after %d µs, %d packets before it, gap %d; want 1000, 22000, 2, 1",
			*l.KeyframeRequest, *l.Keyframe, l.PacketsBeforeKeyframe, *l.SequenceGap)
	}
}

func TestOneNumberMayBeMissingWhereAFrameWasCut(t *testing.T) {
	for _, c := range []struct {
		gap         int
		insideFrame bool
		bad         bool
	}{{0, false, false}, {0, true, false}, {1, true, false}, {1, false, true}, {2, true, true}} {
		if l := (line{SequenceGap: &c.gap, CutInsideFrame: c.insideFrame}); l.badGap() != c.bad {
			t.Errorf("gap %d, cut inside a frame %t: bad is %t", c.gap, c.insideFrame, l.badGap())
		}
	}
	if (line{}).badGap() {
		t.Error("a stream that came back as another one has no gap")
	}
}

func TestSpanIsByNearestRank(t *testing.T) {
	var values []int64
	for i := int64(200); i > 0; i-- {
		values = append(values, i)
	}
	s := spanOf(values, func(v int64) *int64 { return &v })
	if *s.P50 != 100 || *s.P99 != 198 {
		t.Errorf("p50 %d, p99 %d, want 100 and 198", *s.P50, *s.P99)
	}
	if s := spanOf([]line{{}}, func(l line) *int64 { return l.Answer }); s.P50 != nil || s.P99 != nil {
		t.Error("nothing has no quantiles")
	}
}

func TestProbeKnowsTheSendersKeyframes(t *testing.T) {
	payload := make([]byte, 100)
	for _, c := range []struct{ first, keyframe, begins bool }{
		{true, true, true}, {true, false, false}, {false, true, false},
	} {
		clear(payload)
		describeVP8(payload, 7, c.first, c.keyframe)
		if beginsKeyframe(payload) != c.begins {
			t.Errorf("first packet %t of a keyframe %t: begins one is %t", c.first, c.keyframe, !c.begins)
		}
	}
}

func TestProbeCountsMissingAudio(t *testing.T) {
	var p probe
	for _, number := range []uint64{10, 11, 13, 12, 15} {
		p.countAudio(number)
	}
	if missing := p.audioMissing(); missing != 1 {
		t.Errorf("%d packets are missing, want 1", missing)
	}
}
