package peers_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestPassedInOrder proves that what is passed on comes whole and in order, also what the
// client says before the owner is heard.
func TestPassedInOrder(t *testing.T) {
	t.Parallel()
	p := newPlane()
	nodes := p.start(t, []string{"a", "b"}, nodeOptions{})
	p.choice = "b"
	c := nodes[0].connect("lesson", "")
	const candidates, notices, large = 100, 200, 2 << 20
	for i := range candidates {
		c.send(fmt.Sprintf(`{"type":"candidate","candidate":"%d"}`, i))
	}
	c.receive("offer")
	seat := nodes[1].room.in("lesson")[0]
	for i := range notices {
		seat.client.Notify(map[string]any{"type": "notify", "i": i})
	}
	for i := range notices {
		if got := c.receive("notify")["i"]; got != float64(i) {
			t.Fatalf("notice %d came as %v", i, got)
		}
	}
	seat.client.Notify(map[string]any{"type": "notify", "text": strings.Repeat("x", large)})
	if got, _ := c.receive("notify")["text"].(string); len(got) != large {
		t.Errorf("%d bytes came of %d", len(got), large)
	}
	until(t, "all candidates", func() bool { return len(seat.taken()) == candidates })
	for i, candidate := range seat.taken() {
		if candidate != fmt.Sprint(i) {
			t.Fatalf("candidate %d is %q", i, candidate)
		}
	}
}
