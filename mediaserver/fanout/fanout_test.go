package fanout_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/forwarding"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is the two times of a sender report.
type clock struct {
	ntpTime uint64
	rtpTime uint32
}

// recorder is a receiver that keeps what it gets.
type recorder struct {
	worker int

	mu       sync.Mutex
	numbers  []uint16
	times    []uint32
	bytes    []byte // the first byte of each payload, 0 for none
	paddings []uint8
	again    int      // of them sent again
	padding  int      // bytes, in packets of padding alone
	left     []uint32 // when each packet left, padding too
	reports  [][2]uint32
	clocks   []clock // of the reports
	err      error
}

func (r *recorder) Worker() int { return r.worker }

func (r *recorder) WriteRTP(_ *udp.Batch, p *media.Outgoing) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.numbers = append(r.numbers, p.SequenceNumber)
	r.times = append(r.times, p.Timestamp)
	r.bytes = append(r.bytes, append(slices.Clone(p.Payload), 0)[0])
	r.paddings = append(r.paddings, p.Padding)
	r.left = append(r.left, p.SendTime)

	return nil
}

func (r *recorder) ResendRTP(batch *udp.Batch, p *media.Outgoing) error {
	r.mu.Lock()
	r.again++
	r.mu.Unlock()

	return r.WriteRTP(batch, p)
}

func (r *recorder) WritePadding(_ *udp.Batch, p *media.Outgoing, size uint8) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = append(r.left, p.SendTime)
	if r.err == nil {
		r.padding += int(size)
	}

	return r.err
}

func (r *recorder) WriteSenderReport(_ *udp.Batch, ntpTime uint64, rtpTime uint32, packets, octets uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clocks = append(r.clocks, clock{ntpTime, rtpTime})
	r.reports = append(r.reports, [2]uint32{packets, octets})

	return nil
}

func (r *recorder) SSRC() uint32 { return 1 }

func (r *recorder) got() ([]uint16, []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()

	return slices.Clone(r.numbers), slices.Clone(r.bytes)
}

// inspect reads the payloads' first byte: 'K' begins a keyframe.
func inspect(payload []byte) codecs.Facts {
	return codecs.Facts{KeyframeStart: len(payload) > 0 && payload[0] == 'K'}
}

var inspectAudio = codecs.Opus.Inspect

func newVideo(t testing.TB, request func()) *fanout.Track {
	track := fanout.NewTrack(fanout.Config{Kind: media.Video, Inspect: inspect,
		RequestKeyframe: func(media.Layers) { request() }})
	t.Cleanup(track.Close)

	return track
}

func newAudio(t testing.TB) *fanout.Track {
	track := fanout.NewTrack(fanout.Config{Kind: media.Audio, Inspect: inspectAudio})
	t.Cleanup(track.Close)

	return track
}

// batch is one whose datagrams go nowhere.
func batch() *udp.Batch { return udp.NewBatch(0, nil) }

// packet is one of a sender's first run of numbers.
func packet(number uint64, payload string, marker bool) media.Received {
	return media.Received{SSRC: 9, SequenceNumber: numbers.Apart + number, Marker: marker, Payload: []byte(payload)}
}

// renumbered makes a packet one of a later run of numbers, under an SSRC.
func renumbered(p media.Received, run uint64, ssrc uint32) media.Received {
	p.SequenceNumber += run * 2 * numbers.Apart
	p.SSRC = ssrc

	return p
}

func pause(pr *fanout.Projection) fanout.Change {
	return fanout.Change{Projection: pr, Withhold: forwarding.Paused}
}

func resume(pr *fanout.Projection) fanout.Change {
	return fanout.Change{Projection: pr, Release: forwarding.Paused}
}

func wantBytes(t *testing.T, r *recorder, want string) []uint16 {
	t.Helper()
	numbers, bytes := r.got()
	if string(bytes) != want {
		t.Fatalf("got payloads %q, want %q", bytes, want)
	}

	return numbers
}

// Hazard 10: packets that overtook the keyframe's first one, in the same burst or an
// earlier one, follow it; those behind it in the burst are not sent twice.
func TestReorderedKeyframeIsWhole(t *testing.T) {
	for name, bursts := range map[string][][]media.Received{
		"one burst": {{packet(2, "b", false), packet(3, "c", true), packet(1, "K", false), packet(4, "d", true)}},
		"several": {{packet(3, "c", true), packet(0, "x", true)}, {packet(2, "b", false)}, {packet(1, "K", false)},
			{packet(4, "d", true)}},
	} {
		t.Run(name, func(t *testing.T) {
			track, sink := newVideo(t, func() {}), &recorder{}
			track.Project(sink, 0)
			for _, b := range bursts {
				track.ReceiveRTP(batch(), b)
			}
			numbers := wantBytes(t, sink, "Kbcd")
			for i, n := range numbers {
				if n != numbers[0]+uint16(i) {
					t.Errorf("numbers %v", numbers)
				}
			}
		})
	}
}

func TestCopiesAreDropped(t *testing.T) {
	track, sink := newVideo(t, func() {}), &recorder{}
	track.Project(sink, 0)
	track.ReceiveRTP(batch(), []media.Received{packet(1, "K", false), packet(1, "z", false), packet(2, "b", true),
		packet(2, "y", true)})
	wantBytes(t, sink, "Kb")
	if n := track.Counters().Duplicates.Load(); n != 2 {
		t.Errorf("%d duplicates counted, want 2", n)
	}
}

// Padding makes no phantom loss: its number goes out without payload.
func TestPaddingKeepsNumbersContiguous(t *testing.T) {
	track, sink := newVideo(t, func() {}), &recorder{}
	track.Project(sink, 0)
	track.ReceiveRTP(batch(), []media.Received{packet(1, "K", true), packet(2, "", false), packet(3, "b", true)})
	numbers := wantBytes(t, sink, "K\x00b")
	if numbers[2] != numbers[0]+2 {
		t.Errorf("numbers %v", numbers)
	}
}

func TestNewSourceContinues(t *testing.T) {
	var requests atomic.Int64
	track, sink := newVideo(t, func() { requests.Add(1) }), &recorder{}
	track.Project(sink, 0)
	track.ReceiveRTP(batch(), []media.Received{packet(1, "K", true), packet(2, "b", true)})
	other := func(number uint64, payload string) media.Received {
		return renumbered(packet(number, payload, true), 1, 10)
	}
	track.ReceiveRTP(batch(), []media.Received{other(40000, "x"), packet(3, "late", true), other(40001, "K"),
		other(40002, "c")})
	numbers := wantBytes(t, sink, "KbKc")
	if numbers[3] != numbers[0]+3 {
		t.Errorf("numbers %v: not contiguous", numbers)
	}
}

// Hazard 12: the silence before a sender comes back under the SSRC that it had left
// stays in the timeline.
func TestSilenceBeforeANewRunStaysInTheTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		track, sink := newVideo(t, func() {}), &recorder{}
		defer track.Close()
		track.Project(sink, 0)
		send := func(run uint64, ssrc uint32) {
			track.ReceiveRTP(batch(), []media.Received{renumbered(packet(100, "K", true), run, ssrc)})
		}
		send(1, 1)
		send(2, 2)
		time.Sleep(10 * time.Second)
		send(3, 1)
		wantBytes(t, sink, "KKK")
		if ticks := sink.times[2] - sink.times[1]; ticks < 10*90_000 {
			t.Errorf("%d ticks of 90 kHz for 10 s", ticks)
		}
	})
}

// A receiver whose first packets are lost just before its numbers wrap would guess
// SRTP's roll-over counter wrong (RFC 3711 section 3.3.1), and see nothing, for ever.
func TestFirstNumbersAreFarFromTheWrap(t *testing.T) {
	track := newAudio(t)
	var sinks []*recorder
	for range 100 {
		sinks = append(sinks, &recorder{})
		track.Project(sinks[len(sinks)-1], 0)
	}
	track.ReceiveRTP(batch(), []media.Received{packet(1, "a", true)})
	first := make(map[uint16]struct{})
	for _, sink := range sinks {
		numbers := wantBytes(t, sink, "a")
		if numbers[0] >= 1<<15 {
			t.Errorf("a first number of %d", numbers[0])
		}
		first[numbers[0]] = struct{}{}
	}
	if len(first) < 50 {
		t.Errorf("%d different first numbers of 100 receivers: they are to be random", len(first))
	}
}

func TestNACK(t *testing.T) {
	track, sink := newVideo(t, func() {}), &recorder{}
	pr := track.Project(sink, 0)
	track.ReceiveRTP(batch(), []media.Received{packet(1, "K", false), packet(2, "b", false), packet(4, "d", false)})
	n := wantBytes(t, sink, "Kbd")
	for range 3 {
		pr.ReceiveNACK(batch(), []uint16{n[1]})
	}
	pr.ReceiveNACK(batch(), []uint16{n[1] + 1, n[2] + 1, n[0] - 1}) // never received; never sent
	wantBytes(t, sink, "Kbdbbb")
	if last, _ := pr.LastSequenceNumber(); last != n[2] {
		t.Errorf("last number %d, want %d", last, n[2])
	}
	fanout.Apply([]fanout.Change{pause(pr)})
	pr.ReceiveNACK(batch(), n) // hazard 4
	fanout.Apply([]fanout.Change{resume(pr)})
	pr.ReceiveNACK(batch(), n)
	track.ReceiveRTP(batch(), []media.Received{packet(5, "e", true), packet(6, "K", true)})
	pr.ReceiveNACK(batch(), n)
	numbers := wantBytes(t, sink, "KbdbbbK")
	if numbers[6] != n[2]+2 {
		t.Errorf("after a half frame: number %d, want %d", numbers[6], n[2]+2)
	}
	pr.Remove()
	pr.Remove()
	pr.ReceiveNACK(batch(), numbers[6:])
	track.ReceiveRTP(batch(), []media.Received{packet(7, "f", true)})
	wantBytes(t, sink, "KbdbbbK")
}

// What a receiver misses counts once, and what it was not sent not at all.
func TestMissing(t *testing.T) {
	track, sink := newVideo(t, func() {}), &recorder{}
	pr := track.Project(sink, 0)
	for i := range 100 {
		payload := "b"
		if i == 0 {
			payload = "K"
		}
		track.ReceiveRTP(batch(), []media.Received{packet(uint64(i+1), payload+"12", false)})
	}
	n, _ := sink.got()
	for _, step := range []struct {
		asks []uint16
		want fanout.Missing
	}{
		{[]uint16{n[2]}, fanout.Missing{Packets: 1, Span: 1, Bytes: 3}},
		{[]uint16{n[2], n[4], n[7]}, fanout.Missing{Packets: 2, Span: 5, Bytes: 6}},
		{[]uint16{n[4], n[6], n[7]}, fanout.Missing{}},
		{[]uint16{n[99] + 1, n[0] - 1}, fanout.Missing{}},
		{[]uint16{n[98], n[99]}, fanout.Missing{Packets: 2, Span: 2, Bytes: 6}}, // long after the one before
	} {
		if got := pr.AnswerNACK(batch(), step.asks); got != step.want {
			t.Errorf("%v: %+v, want %+v", step.asks, got, step.want)
		}
	}
	fanout.Apply([]fanout.Change{pause(pr)})
	track.ReceiveRTP(batch(), []media.Received{packet(101, "b", false)})
	if got := pr.AnswerNACK(batch(), []uint16{n[99] + 1}); got != (fanout.Missing{}) {
		t.Errorf("of what was withheld: %+v", got)
	}
}

func TestSinkErrorsStopNobodyElse(t *testing.T) {
	track, broken, sink := newVideo(t, func() {}), &recorder{err: errors.New("gone")}, &recorder{}
	pr := track.Project(broken, 0)
	track.Project(sink, 0)
	track.ReceiveRTP(batch(), []media.Received{packet(1, "K", true), packet(2, "b", true)})
	wantBytes(t, sink, "Kb")
	if n := track.Counters().SinkErrors.Load(); n != 1 { // the keyframe's, without which the projection does not begin
		t.Errorf("%d errors counted, want 1", n)
	}
	if n, ok := pr.LastSequenceNumber(); ok {
		t.Errorf("last number %d of a sink that took nothing", n)
	}
}

func wantContiguous(t *testing.T, numbers []uint16) {
	t.Helper()
	for i, n := range numbers {
		if n != numbers[0]+uint16(i) {
			t.Fatalf("number %d missing", numbers[0]+uint16(i))
		}
	}
}
