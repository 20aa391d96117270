package spotlight_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/spotlight"
)

const frame = 20 * time.Millisecond

// conversation is what hack/speech made: three speakers' loudness by frame, and who has the
// word when.
type conversation struct {
	loudness [][]uint8
	turns    []turn
}

type turn struct {
	speaker, first, end int
	remark              bool
}

func readConversation(t testing.TB) conversation {
	t.Helper()
	file, err := os.Open("testdata/conversation.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var c conversation
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		var what string
		var made turn
		switch n, _ := fmt.Sscan(line, &what, &made.speaker, &made.first, &made.end); {
		case strings.HasPrefix(line, "# Levels"):
			c.loudness = append(c.loudness, nil)
		case strings.HasPrefix(line, "#"):
		case n == 4:
			made.remark = what == "remark"
			c.turns = append(c.turns, made)
		default:
			levels, err := hex.DecodeString(line)
			if err != nil {
				t.Fatal(err)
			}
			own := &c.loudness[len(c.loudness)-1]
			for _, level := range levels {
				*own = append(*own, 127-level)
			}
		}
	}
	if len(c.loudness) != 3 || len(c.turns) == 0 {
		t.Fatalf("%d speakers and %d turns were read", len(c.loudness), len(c.turns))
	}

	return c
}

// has tells whether a speaker has the word.
func (c *conversation) has(speaker, at int) bool {
	return slices.ContainsFunc(c.turns, func(t turn) bool {
		return !t.remark && t.speaker == speaker && t.first <= at && at < t.end
	})
}

// heardFrom is a frame that a listener would miss: 45 dB below overload or louder.
const heardFrom = 127 - 45

// silence is what a sender with discontinuous transmission does not send.
const silence = 127 - 54

// TestConversation holds both tests against speech: as it is, with discontinuous
// transmission, and in packets of 60 ms.
func TestConversation(t *testing.T) {
	c := readConversation(t)
	everything := func(loudness []uint8, at int) (uint8, bool) { return loudness[at], true }
	for name, test := range map[string]struct {
		sent   func(loudness []uint8, at int) (uint8, bool)
		number int
		mean   time.Duration // to focus, at most
	}{
		"one in focus": {everything, 1, 400 * time.Millisecond},
		"two in focus": {everything, 2, 280 * time.Millisecond},
		"discontinuous": {func(loudness []uint8, at int) (uint8, bool) {
			return loudness[at], at%20 == 0 || slices.Max(loudness[max(0, at-10):at+1]) > silence
		}, 1, 400 * time.Millisecond},
		"60 ms": {func(loudness []uint8, at int) (uint8, bool) {
			return together(loudness[at:min(at+3, len(loudness))]), at%3 == 0
		}, 1, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.measure(test.number, test.sent)
			t.Logf("to focus: mean %v, longest %v; %d of %d turns without it, %d false switches; "+
				"to be heard: longest %v; %d frames of words cut, %d%% of others' silence heard",
				m.mean(), slices.Max(m.toFocus), m.missed, m.turns, m.false, m.toBeHeard, m.cut, m.open)
			if m.mean() > test.mean || slices.Max(m.toFocus) > time.Second || m.missed > 0 {
				t.Error("focus comes too late")
			}
			if m.false > 1 { // One remark of half a second is taken for a turn.
				t.Error("focus goes to who has not the word")
			}
			if m.toBeHeard > 60*time.Millisecond || m.cut > 0 {
				t.Error("words are cut")
			}
			if m.open > 5 {
				t.Error("noise is heard")
			}
		})
	}
}

// together is the level of several frames as one.
func together(loudness []uint8) uint8 {
	energy := 0.0
	for _, l := range loudness {
		energy += math.Pow(10, float64(l)/10) / float64(len(loudness))
	}

	return uint8(math.Round(10 * math.Log10(energy)))
}

type measured struct {
	toFocus              []time.Duration // from a turn's first loud frame
	toBeHeard            time.Duration   // from the first loud frame of whoever says anything, the longest
	false, missed, turns int
	cut                  int // loud frames that nobody heard
	open                 int // percent of others' frames that were heard
}

func (m *measured) mean() time.Duration {
	var sum time.Duration
	for _, d := range m.toFocus {
		sum += d
	}

	return sum / time.Duration(max(1, len(m.toFocus)))
}

// measure plays the conversation.
func (c *conversation) measure(number int, sent func([]uint8, int) (uint8, bool)) measured {
	var m measured
	s := spotlight.New(number)
	senders := []*spotlight.Sender{s.Add(), s.Add(), s.Add()}
	frames := len(c.loudness[0])
	focused, heard := make([][]bool, 3), make([][]bool, 3)
	for at := range frames {
		now := time.Hour + time.Duration(at)*frame
		for i, sender := range senders {
			if loudness, is := sent(c.loudness[i], at); is {
				s.Hear(sender, loudness, now)
			}
		}
		for i, sender := range senders {
			focused[i] = append(focused[i], sender.Focused())
			heard[i] = append(heard[i], sender.Heard(now))
			// Half a second after a turn may still be of it.
			if at > 0 && focused[i][at] && !focused[i][at-1] && !c.has(i, at) && !c.has(i, max(0, at-25)) {
				m.false++
			}
		}
	}
	silent, open := 0, 0
	for _, t := range c.turns {
		first := t.first
		for c.loudness[t.speaker][first] < heardFrom {
			first++
		}
		if at := slices.Index(heard[t.speaker][first:], true); at >= 0 {
			m.toBeHeard = max(m.toBeHeard, time.Duration(at)*frame)
		}
		for at := first; at < t.end; at++ {
			if c.loudness[t.speaker][at] >= heardFrom && !heard[t.speaker][at] {
				m.cut++
			}
		}
		if t.remark {
			continue
		}
		m.turns++
		if at := slices.Index(focused[t.speaker][first:t.end], true); at >= 0 {
			m.toFocus = append(m.toFocus, time.Duration(at)*frame)
		} else {
			m.missed++
		}
	}
	for i := range heard {
		for at := 100; at < frames; at++ {
			spoke := slices.ContainsFunc(c.turns, func(t turn) bool { return t.speaker == i && t.first <= at && at < t.end+50 })
			if !spoke && !focused[i][at] {
				silent++
				if heard[i][at] {
					open++
				}
			}
		}
	}
	m.open = 100 * open / max(1, silent)

	return m
}
