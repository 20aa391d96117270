package controlplane

import (
	"strings"
	"testing"
)

func TestTailKeepsLastLines(t *testing.T) {
	var kept tail
	for range 3 * lastLines {
		if _, err := kept.Write([]byte("early\n\nli")); err != nil {
			t.Fatal(err)
		}
		if _, err := kept.Write([]byte("ne\n")); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("a", longestLine-1) + "凪 and so on"
	if _, err := kept.Write([]byte(long + "\nthe end")); err != nil {
		t.Fatal(err)
	}
	got := kept.last()
	if len(got) != lastLines+1 {
		t.Fatalf("%d lines, want %d: %q", len(got), lastLines+1, got)
	}
	if got[0] != "line" || got[1] != "early" || got[lastLines] != "the end" {
		t.Errorf("kept %q", got)
	}
	if want := strings.Repeat("a", longestLine-1) + " ..."; got[lastLines-1] != want {
		t.Errorf("a long line became %q, want %q", got[lastLines-1], want)
	}
}
