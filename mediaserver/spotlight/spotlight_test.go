package spotlight_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nagi-rtc/nagi/mediaserver/spotlight"
)

const (
	loud  = 127 - 25
	quiet = 127 - 70
)

// room is a spotlight with a clock.
type room struct {
	*spotlight.Spotlight
	senders   []*spotlight.Sender
	now       time.Duration
	refocused int
}

func newRoom(number, senders int) *room {
	r := &room{Spotlight: spotlight.New(number), now: time.Hour}
	for range senders {
		r.senders = append(r.senders, r.Add())
	}

	return r
}

// play lets time pass by frames, in which each sender says how loud it is; negative: no packet.
func (r *room) play(d time.Duration, loudness ...int) {
	for end := r.now + d; r.now < end; r.now += frame {
		for i, l := range loudness {
			if l >= 0 && r.Hear(r.senders[i], uint8(l), r.now) {
				r.refocused++
			}
		}
	}
}

// focused are who is in focus.
func (r *room) focused() string {
	var names []byte
	for i, sender := range r.senders {
		if sender.Focused() {
			names = append(names, byte('a'+i))
		}
	}

	return string(names)
}

func (r *room) want(t *testing.T, focused string) {
	t.Helper()
	if got := r.focused(); got != focused {
		t.Errorf("in focus are %q, want %q", got, focused)
	}
}

// The last who spoke are in focus, and silence takes nobody's place.
func TestFocusIsTheLastWhoSpoke(t *testing.T) {
	r := newRoom(2, 4)
	r.play(time.Second, quiet, quiet, quiet, quiet)
	r.want(t, "")
	r.play(time.Second, loud, quiet, quiet, quiet)
	r.want(t, "a")
	r.play(2*time.Second, quiet, loud, quiet, quiet)
	r.want(t, "ab")
	r.play(2*time.Second, quiet, quiet, loud, quiet)
	r.want(t, "bc")
	r.play(2*time.Second, quiet, loud, quiet, quiet) // again
	r.play(2*time.Second, quiet, quiet, quiet, loud)
	r.want(t, "bd")
	r.play(time.Hour, quiet, quiet, quiet, quiet)
	r.want(t, "bd")

	if !r.Remove(r.senders[3]) || r.Remove(r.senders[0]) {
		t.Error("one of them was in focus, and it was the other")
	}
	r.want(t, "bc")
	r.Remove(r.senders[2])
	r.Remove(r.senders[1])
	r.want(t, "")
}

// What is silent without packets is as silent as with them.
func TestGapsAreSilence(t *testing.T) {
	r := newRoom(1, 2)
	r.play(2*time.Second, loud, quiet)
	r.want(t, "a")
	r.play(2*time.Second, -1, loud)
	r.want(t, "b")
}

// Two who speak at once keep what they have.
func TestFocusStaysWhileBothSpeak(t *testing.T) {
	r := newRoom(1, 2)
	r.play(2*time.Second, loud, quiet)
	r.play(10*time.Second, loud, loud)
	r.want(t, "a")
}

// A sender is heard from its first loud packet on, and no noise for long.
func TestHearing(t *testing.T) {
	const second = time.Second
	type said struct {
		d        time.Duration
		loudness int
	}
	for name, test := range map[string]struct {
		said  []said
		heard time.Duration // after the end of that
	}{
		"silence":                         {[]said{{second, quiet}}, 0},
		"one loud packet":                 {[]said{{second, quiet}, {frame, loud}}, 180 * time.Millisecond},
		"a noise of 80 ms":                {[]said{{second, quiet}, {4 * frame, loud}}, 180 * time.Millisecond},
		"a word":                          {[]said{{second, quiet}, {8 * frame, loud}}, 780 * time.Millisecond},
		"a word at once":                  {[]said{{8 * frame, loud}}, 780 * time.Millisecond},
		"a word, and silence":             {[]said{{8 * frame, loud}, {second / 2, quiet}}, 280 * time.Millisecond},
		"steady noise, 52 dB down":        {[]said{{second, 75}}, 0},
		"noise that has grown to 52 dB":   {[]said{{second, 40}, {20 * second, 75}}, 0},
		"speech above that":               {[]said{{20 * second, 75}, {8 * frame, 90}}, 780 * time.Millisecond},
		"steady music":                    {[]said{{20 * second, 100}}, 780 * time.Millisecond},
		"louder than can be":              {[]said{{second, 255}}, 780 * time.Millisecond},
		"a loud packet, a minute of none": {[]said{{second, loud}, {time.Minute, -1}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(1, 2)
			r.play(time.Second, -1, loud) // who never stops, so that the other is not in focus
			for _, said := range test.said {
				r.play(said.d, said.loudness, loud)
			}
			after := time.Duration(0)
			for ; r.senders[0].Heard(r.now+after) && after < time.Minute; after += frame {
			}
			r.want(t, "b")
			if after != test.heard {
				t.Errorf("heard for %v, want %v", after, test.heard)
			}
		})
	}
}

// Who never says how loud it is, is heard.
func TestUnknownLevelsAreHeard(t *testing.T) {
	r := newRoom(1, 1)
	if !r.senders[0].Heard(r.now) {
		t.Error("withheld though nothing is known")
	}
	r.play(frame, 0)
	if r.senders[0].Heard(r.now) {
		t.Error("heard though it says that it is silent")
	}
}

// Who lies has one place, and the others share the rest as if it were not there.
func TestLiarHasOnePlace(t *testing.T) {
	for name, lie := range map[string]func(r *room) int{
		"always loud":    func(*room) int { return 127 },
		"loud by bursts": func(r *room) int { return 127 * int(r.now/(400*time.Millisecond)%2) },
		"beyond loud":    func(*room) int { return 255 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(2, 3)
			for range 10 {
				for second := 2 * time.Second; second > 0; second -= frame {
					r.play(frame, lie(r), loud, quiet)
				}
				r.want(t, "ab")
				for second := 2 * time.Second; second > 0; second -= frame {
					r.play(frame, lie(r), quiet, loud)
				}
				r.want(t, "ac")
			}
		})
	}
}

// Who comes and goes for ever comes into focus at a bounded rate.
func TestComebacksAreBounded(t *testing.T) {
	r := newRoom(1, 2)
	entries := 0
	for end := r.now + time.Minute; r.now < end; {
		for i, said := range [][]int{{loud, quiet}, {quiet, loud}} {
			before := r.senders[i].Focused()
			r.play(700*time.Millisecond, said...)
			if i == 0 && !before && r.senders[0].Focused() {
				entries++
			}
		}
	}
	if entries < 15 || entries > 25 {
		t.Errorf("in focus %d times in a minute, want one in 3 s and 5 more", entries)
	}
}

// The scores are the paper's: how much likelier speech is than silence.
func TestScores(t *testing.T) {
	for _, test := range []struct {
		n, v   int
		lambda float64
	}{{13, 12, 0.78}, {5, 5, 24}, {10, 3, 47}} {
		binomial := 1.0
		for i := range test.v {
			binomial = binomial * float64(test.n-i) / float64(i+1)
		}
		want := math.Log(math.Log(binomial * math.Pow(0.5, float64(test.n)) /
			(test.lambda * math.Exp(-test.lambda*float64(test.v)))))
		if got := spotlight.Scores(test.n, test.lambda)[test.v]; math.Abs(got-want) > 1e-9 {
			t.Errorf("%d of %d score %g, want %g", test.v, test.n, got, want)
		}
	}
	for _, score := range []float64{spotlight.Scores(5, 24)[0], spotlight.Scores(10, 47)[0]} {
		if want := math.Log(1e-10); score != want {
			t.Errorf("silence scores %g, want %g", score, want)
		}
	}
}

// TestInvariants feeds in what nobody would send.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.IntRange(1, 8).Draw(t, "number")
		check := newChecked(number)
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			check.step(
				rapid.ByteRange(0, 255).Draw(t, "what"),
				rapid.SampledFrom([]byte{0, 60, 80, 100, 127, 255}).Draw(t, "loudness"),
				rapid.SampledFrom([]time.Duration{0, time.Millisecond, frame, frame, 5 * frame, time.Second, 24 * time.Hour,
					-frame}).Draw(t, "later"),
			)
			if check.broken != "" {
				t.Fatal(check.broken)
			}
		}
	})
}

// FuzzLevels is for audio levels that never end.
func FuzzLevels(f *testing.F) {
	f.Add([]byte{1, 127, 20, 2, 0, 20, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		check := newChecked(2)
		for ; len(data) >= 3; data = data[3:] {
			check.step(data[0], data[1], time.Duration(int8(data[2]))*10*time.Millisecond)
			if check.broken != "" {
				t.Fatal(check.broken)
			}
		}
	})
}

// checked is a spotlight that is held against what must always be so.
type checked struct {
	*room
	number int
	broken string
	in     map[*spotlight.Sender][]time.Duration // when each came into focus
	last   time.Duration
}

func newChecked(number int) *checked {
	return &checked{room: newRoom(number, 3), number: number, in: make(map[*spotlight.Sender][]time.Duration)}
}

// step has a sender come, go or say something.
func (c *checked) step(what, loudness byte, later time.Duration) {
	c.now = max(0, c.now+later)
	c.last = max(c.last, c.now)
	before := c.focusedSet()
	refocused := false
	switch who := int(what) % 16; {
	case who == 15 && len(c.senders) < 20:
		c.senders = append(c.senders, c.Add())
	case who == 14 && len(c.senders) > 1:
		gone := c.senders[0]
		c.senders = c.senders[1:]
		c.Remove(gone)
		before = slices.DeleteFunc(before, func(s *spotlight.Sender) bool { return s == gone })
		if gone.Focused() {
			c.broken = "one who is gone is in focus"
		}
		refocused = true // whoever has its place has spoken before
	default:
		sender := c.senders[who%len(c.senders)]
		refocused = c.Hear(sender, loudness, c.now)
		if loudness >= 100 && sender.Focused() && !sender.Heard(c.now) {
			c.broken = "one in focus is not heard"
		}
	}
	after := c.focusedSet()
	if len(after) > c.number {
		c.broken = fmt.Sprintf("%d are in focus of %d", len(after), c.number)
	}
	if !refocused && !slices.Equal(before, after) {
		c.broken = "others are in focus, and nothing tells"
	}
	if int(what)%16 == 14 {
		return
	}
	for _, sender := range after {
		if slices.Contains(before, sender) {
			continue
		}
		entries := append(c.in[sender], c.last)
		c.in[sender] = entries
		if n := len(entries); n > 7 && entries[n-1]-entries[n-8] < 3*time.Second {
			c.broken = "one came into focus 8 times in 3 s"
		}
	}
}

func (c *checked) focusedSet() []*spotlight.Sender {
	var set []*spotlight.Sender
	for _, sender := range c.senders {
		if sender.Focused() {
			set = append(set, sender)
		}
	}

	return set
}

// A packet costs no memory.
func TestHearAllocatesNothing(t *testing.T) {
	r := newRoom(5, 30)
	i := 0
	if n := testing.AllocsPerRun(10_000, func() { r.packet(i); i++ }); n != 0 {
		t.Errorf("%g allocations for a packet", n)
	}
}

// packet is the next of all those that thirty people send, of whom five speak.
func (r *room) packet(i int) {
	who := i % len(r.senders)
	if who == 0 {
		r.now += frame
	}
	loudness := uint8(quiet)
	if (who+i/20_000)%6 == 0 {
		loudness = loud
	}
	r.Hear(r.senders[who], loudness, r.now)
}

// BenchmarkHear is one packet of thirty people's audio.
func BenchmarkHear(b *testing.B) {
	r := newRoom(5, 30)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.packet(i)
	}
}
