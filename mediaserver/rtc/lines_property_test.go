package rtc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// coming is a downlink of a random sequence.
type coming struct {
	*Downlink

	streamID string
	format   codecs.Format
}

// Whoever comes and goes, in whatever order with offers and answers: every stream that stays is received in the end, a
// mid that the client has seen means the same format for good, nothing comes first without a stream, and offers are
// asked for whenever there is something to tell.
func TestLinesOfRandomSequences(t *testing.T) {
	for name, connection := range map[string]func(*testing.T, *rand.Rand) *connection{
		"each format is taken": func(t *testing.T, random *rand.Rand) *connection {
			t.Helper()

			return newConnection(t, newEngine(t), random.IntN(2) == 0)
		},
		"VP8 alone is": func(t *testing.T, _ *rand.Rand) *connection {
			t.Helper()

			return newConnectionOf(t, webrtc.MimeTypeVP8)
		},
	} {
		for seed := range uint64(8) {
			t.Run(fmt.Sprint(name, ", ", seed), func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 7))
				randomLines(t, random, connection(t, random))
			})
		}
	}
}

func randomLines(t *testing.T, random *rand.Rand, c *connection) {
	t.Helper()
	formats := []codecs.Format{codecs.Opus.Format(""), vp8, codecs.VP9.Format(""), codecs.AV1.Format("")}
	var live []coming
	var seen []string // what each m-line is for
	outstanding := ""
	offers, wanted := 0, true
	check := func(offer string) {
		for i, line := range lines(t, offer) {
			if !strings.Contains(line, fmt.Sprintf("a=mid:%d\r\n", i)) {
				t.Fatalf("m-line %d: %s", i, line)
			}
			_, what, _ := strings.Cut(line, "a=rtpmap:")
			what, _, _ = strings.Cut(what, "\r\n")
			if i == len(seen) {
				seen = append(seen, what)
				if strings.Contains(line, "a=recvonly") && i >= len(c.peer.uplinks()) {
					t.Fatalf("m-line %d brings nothing at first: %s", i, line)
				}
			}
			if seen[i] != what {
				t.Fatalf("m-line %d was %s and is %s", i, seen[i], what)
			}
		}
	}
	offer := func() {
		for len(c.needed) > 0 {
			<-c.needed
		}
		description, err := c.peer.Offer()
		must(t, err)
		check(description)
		outstanding, wanted = description, false
		offers++
	}
	answer := func() {
		must(t, c.peer.Answer(c.client.answer(t, outstanding)))
		outstanding = ""
		if offers == 1 {
			within(t, "connection", c.connected)
		}
	}
	isNeeded := func() bool {
		wanted = wanted || len(c.needed) > 0

		return wanted
	}
	for n := range 10 + random.IntN(40) {
		switch k := random.IntN(10); {
		case k < 4 && len(live) < 8:
			format := formats[random.IntN(len(formats))]
			id := fmt.Sprintf("STREAM%d", n)
			d, err := c.peer.AddDownlink(id, format)
			if errors.Is(err, ErrFormatNotTaken) {
				continue
			}
			must(t, err)
			live = append(live, coming{d, id, format})
		case k < 7 && len(live) > 0:
			i := random.IntN(len(live))
			must(t, live[i].Remove())
			live = append(live[:i], live[i+1:]...)
		case outstanding == "" && isNeeded():
			offer()
		case outstanding != "":
			answer()
		}
	}
	if outstanding != "" {
		answer()
	}
	for isNeeded() {
		offer()
		answer()
	}
	live = slices.DeleteFunc(live, func(d coming) bool { return slices.Contains(c.peer.Rejected(), d.format) })
	got := map[string]bool{}
	deadline := time.After(patience)
	for number := uint16(1); len(got) < len(live); number++ {
		for _, d := range live {
			if !got[d.streamID] {
				if err := write(d.Downlink, number, 3000*uint32(number), true, []byte("\x10payload")); err != nil {
					t.Fatalf("%s: %v", d.streamID, err)
				}
			}
		}
		select {
		case s := <-c.client.streams:
			for _, d := range live {
				if d.streamID == s.track.StreamID() {
					_ = s.track.SetReadDeadline(time.Now().Add(patience))
					if _, _, err := s.track.ReadRTP(); err != nil {
						t.Fatalf("%s: %v", d.streamID, err)
					}
					got[d.streamID] = true
				}
			}
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			for _, d := range live {
				t.Errorf("%s of %v on mid %s: %v", d.streamID, d.format, d.line.mid, got[d.streamID])
			}

			return
		}
	}
}
