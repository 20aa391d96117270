package rtc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
)

// A sender that goes before it was in any offer leaves nothing in the next one, and who comes then is received. Clients
// made with Pion answered an m-line that brought nothing at first with sendonly for good.
func TestLineThatNobodyHasSeen(t *testing.T) {
	opus := codecs.Opus.Format("")
	passingBy := func(t *testing.T, c *connection) {
		t.Helper()
		for _, format := range []codecs.Format{opus, vp8} {
			d, err := c.peer.AddDownlink("NEVER", format)
			must(t, err)
			defer func() { must(t, d.Remove()) }()
		}
	}
	for name, when := range map[string]struct {
		before, meanwhile, after func(*testing.T, *connection)
	}{
		"before the first offer":        {before: passingBy},
		"while an offer is outstanding": {meanwhile: passingBy},
		"before the next offer":         {after: passingBy},
		"each time":                     {before: passingBy, meanwhile: passingBy, after: passingBy},
	} {
		for _, sends := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, sends: %v", name, sends), func(t *testing.T) {
				c := newConnection(t, newEngine(t), sends)
				call := func(f func(*testing.T, *connection)) {
					if f != nil {
						f(t, c)
					}
				}
				call(when.before)
				offer, err := c.peer.Offer()
				must(t, err)
				call(when.meanwhile)
				must(t, c.peer.Answer(c.client.answer(t, offer)))
				within(t, "connection", c.connected)
				call(when.after)

				// One goes, the other stays, whose m-line comes first then.
				goes, err := c.peer.AddDownlink("NEVER", vp8)
				must(t, err)
				d, err := c.peer.AddDownlink("STAYS", vp8)
				must(t, err)
				must(t, goes.Remove())
				f := newFed()
				d.Attach(f)
				before := len(lines(t, offer))
				offered := lines(t, negotiate(t, c.peer, c.client))
				if last := offered[len(offered)-1]; len(offered) != before+1 || !strings.Contains(last, "msid:STAYS") ||
					!strings.Contains(last, fmt.Sprintf("a=mid:%d\r\n", before)) {
					t.Errorf("the offer, after one of %d m-lines: %q", before, offered)
				}
				within(t, "Bound", f.bound)
				if s, _ := readStream(t, c.client, d, 1); s.track.StreamID() != "STAYS" {
					t.Errorf("stream %q", s.track.StreamID())
				}
			})
		}
	}
}
