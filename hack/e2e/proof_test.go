package e2e

import (
	"slices"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// observation looks at one edge from before a pause until after it, beside an edge
// that is never paused meanwhile.
type observation struct {
	edge, reference edge
	system          *system
	channel         string
	paused          []bot.Kind
	began           map[bot.Kind]int // Packets of the edge when the observation began.
	cut             map[bot.Kind]int // Packets of the edge when it was proven paused.
	since           time.Time
}

// Amounts of media that must pass the reference edge before "nothing came" or
// "all came" is believed: more than a second, hence at least one keyframe.
const (
	enoughVideo = 120
	enoughAudio = 60
)

func enough(kind bot.Kind) int {
	if kind == bot.Audio {
		return enoughAudio
	}

	return enoughVideo
}

// watchEdge begins the observation, with media flowing over both edges. The cut
// that ends it is the last packet that left, as View tells it.
func (m *meeting) watchEdge(t *testing.T, watched, reference edge, kinds ...bot.Kind) *observation {
	t.Helper()
	watched.awaitFlow(t)
	reference.awaitFlow(t)

	return &observation{
		edge: watched, reference: reference, system: m.system, channel: m.channel, paused: kinds,
		began: map[bot.Kind]int{
			bot.Audio: len(watched.arrivals(bot.Audio)),
			bot.Video: len(watched.arrivals(bot.Video)),
		},
		cut: map[bot.Kind]int{}, since: time.Now(),
	}
}

// provePaused proves that the last packet that the receiver gets of each paused
// kind is the last that left, while the reference edge goes on. The pause has been
// acknowledged.
func (w *observation) provePaused(t *testing.T) {
	t.Helper()
	w.findCut(t)
	for _, kind := range w.paused {
		w.reference.awaitMore(t, kind, enough(kind))
	}
	w.proveSilence(t)
}

// findCut asks for the last packet that left, and waits until it is there.
func (w *observation) findCut(t *testing.T) {
	t.Helper()
	told := w.system.explain(t, w.channel, w.edge)
	for _, kind := range w.paused {
		last := withheldStream(t, told, kind)
		if last.LastSequenceNumber == nil {
			t.Fatalf("%s: View says that no packet ever left", kind)
		}
		// The answer may be faster than the packets before it.
		await(t, "the last packet that left", func() (uint16, bool) {
			highest := highest(w.edge.arrivals(kind))

			return highest, highest == uint16(last.GetLastSequenceNumber())
		})
		w.cut[kind] = len(w.edge.arrivals(kind))
		if ssrc := w.edge.arrivals(kind)[0].ssrc; ssrc != last.GetSsrc() {
			t.Errorf("%s: View names SSRC %d, the stream has %d", kind, last.GetSsrc(), ssrc)
		}
	}
}

// proveSilence proves that nothing came over the edge since provePaused saw its
// last packet.
func (w *observation) proveSilence(t *testing.T) {
	t.Helper()
	for _, kind := range w.paused {
		all := w.edge.arrivals(kind)
		if late := len(all) - w.cut[kind]; late != 0 {
			t.Errorf("%s: %d packets came after the last that was said to have left, number %d; the next was %+v",
				kind, late, highest(all[:w.cut[kind]]), all[w.cut[kind]])
		}
	}
}

// proveResumed proves how the paused kinds went on, and that the other kind never
// stopped.
func (w *observation) proveResumed(t *testing.T) {
	t.Helper()
	for _, kind := range w.paused {
		w.edge.awaitTotal(t, kind, w.cut[kind]+enough(kind))
		w.proveRestart(t, kind)
	}
	w.proveOthersUntouched(t)
}

// proveRestart proves that the first packet after the pause is the start of a
// keyframe (of video), that the numbers are contiguous, but for exactly one
// missing where the pause cut a frame, and that time went on meanwhile.
func (w *observation) proveRestart(t *testing.T, kind bot.Kind) {
	t.Helper()
	all := w.edge.arrivals(kind)
	last, first := all[w.cut[kind]-1], all[w.cut[kind]]
	step := uint16(1)
	if kind == bot.Video && !last.marker {
		step = 2
	}
	if first.sequence != last.sequence+step {
		t.Errorf("%s: number %d followed %d (end of a frame: %t), want %d", kind, first.sequence, last.sequence,
			last.marker, last.sequence+step)
	}
	if kind == bot.Video && !first.keyframeStart {
		t.Errorf("the first video packet after the pause, number %d, begins no keyframe", first.sequence)
	}
	proveContiguous(t, string(kind)+" after the pause", all[w.cut[kind]:])

	clockRate := time.Duration(90000)
	if kind == bot.Audio {
		clockRate = 48000
	}
	media := time.Duration(first.timestamp-last.timestamp) * time.Second / clockRate
	elapsed := w.elapsed(kind, last.at, first.at, clockRate)
	if (media - elapsed).Abs() > 500*time.Millisecond+elapsed/10 {
		t.Errorf("%s: the timestamps went on by %s over a pause of %s", kind, media, elapsed)
	}
}

// elapsed is the time between two moments by the sender's clock, as the reference
// edge shows it, since a sender on a busy machine may fall behind; by our own where
// that edge has another sender.
func (w *observation) elapsed(kind bot.Kind, from, to time.Time, clockRate time.Duration) time.Duration {
	if w.reference.sender != w.edge.sender {
		return to.Sub(from)
	}
	all := w.reference.arrivals(kind)
	at := func(moment time.Time) arrival {
		next, _ := slices.BinarySearchFunc(all, moment, func(a arrival, moment time.Time) int { return a.at.Compare(moment) })

		return all[min(next, len(all)-1)]
	}

	return time.Duration(at(to).timestamp-at(from).timestamp) * time.Second / clockRate
}

// proveOthersUntouched proves that of the kinds that are not paused no packet is
// missing.
func (w *observation) proveOthersUntouched(t *testing.T) {
	t.Helper()
	for _, kind := range []bot.Kind{bot.Audio, bot.Video} {
		if _, paused := w.cut[kind]; paused {
			continue
		}
		all := w.edge.arrivals(kind)[w.began[kind]-1:]
		proveContiguous(t, "unpaused "+string(kind), all)
		if len(all) < 10 {
			t.Errorf("of %s, which is not paused, only %d packets came", kind, len(all))
		}
	}
}

// audioGaps are the largest gap between audio packets over the watched edge since
// the observation began, and the largest that the reference receiver saw.
func (w *observation) audioGaps() (watched, reference time.Duration) {
	until := time.Now()
	// One before the observation began, so that the first gap counts too.
	all := w.edge.arrivals(bot.Audio)[w.began[bot.Audio]-1:]

	return largestGap(all, w.since, until), w.largestReferenceGap(until)
}

// largestReferenceGap is the largest gap between audio packets that the receiver of
// the reference edge saw on any stream that is not watched.
func (w *observation) largestReferenceGap(until time.Time) time.Duration {
	var largest time.Duration
	for _, s := range w.reference.receiver.Streams() {
		watched := w.reference.receiver == w.edge.receiver && s.SenderConnectionID == w.edge.sender.ConnectionID()
		if s.Kind == bot.Audio && !watched {
			all := w.reference.receiver.arrivals(s.SenderConnectionID, bot.Audio)
			largest = max(largest, largestGap(all, w.since, until))
		}
	}

	return largest
}

func proveContiguous(t *testing.T, what string, all []arrival) {
	t.Helper()
	for i := 1; i < len(all); i++ {
		if all[i].sequence != all[i-1].sequence+1 {
			t.Errorf("%s: number %d followed %d", what, all[i].sequence, all[i-1].sequence)
		}
	}
}

func largestGap(all []arrival, since, until time.Time) time.Duration {
	var largest time.Duration
	for i := 1; i < len(all); i++ {
		if all[i].at.After(since) && all[i].at.Before(until) {
			largest = max(largest, all[i].at.Sub(all[i-1].at))
		}
	}

	return largest
}

// highest is the highest sequence number, in RTP's circular order; 0 of none.
func highest(all []arrival) uint16 {
	if len(all) == 0 {
		return 0
	}
	number := all[0].sequence
	for _, a := range all[1:] {
		if int16(a.sequence-number) > 0 {
			number = a.sequence
		}
	}

	return number
}

// withheldStream finds what View says of one kind on an edge, which must be that
// it is paused.
func withheldStream(t *testing.T, told *forwardingv1.Edge, kind bot.Kind) *forwardingv1.Stream {
	t.Helper()
	want := forwardingv1.Kind_KIND_VIDEO
	if kind == bot.Audio {
		want = forwardingv1.Kind_KIND_AUDIO
	}
	for _, s := range told.GetStreams() {
		if s.GetKind() == want && slices.Contains(s.GetWithheld(), forwardingv1.Withheld_WITHHELD_PAUSED) {
			return s
		}
	}
	t.Fatalf("View does not say that %s is paused: %v", kind, told)

	return nil
}
