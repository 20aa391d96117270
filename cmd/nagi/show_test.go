package main

import (
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

func TestRow(t *testing.T) {
	r := &row{receiver: "bot-1", sender: "SENDER", name: "bot-2"}
	r.add(bot.Stream{Kind: bot.Audio, Packets: 100}, bot.Stream{Kind: bot.Audio, Packets: 200}, 2)
	r.add(bot.Stream{Kind: bot.Video, Packets: 10, Frames: 5},
		bot.Stream{Kind: bot.Video, Packets: 30, Frames: 15, Width: 640, Paused: true}, 2)
	if got, want := strings.Fields(r.appendTo(nil)[0]), "bot-1 bot-2 10 50 5 640 video paused"; strings.Join(got,
		" ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r = &row{receiver: "bot-1", sender: "SENDER"}
	if got := r.appendTo(nil)[0]; !strings.Contains(got, "SENDER") {
		t.Errorf("a sender that is no bot of ours is shown as %q", got)
	}
}

func TestOverdraw(t *testing.T) {
	if got, want := overdraw(0, []string{"a\n"}), "\r\x1b[2Ka\n\x1b[J"; got != want {
		t.Errorf("first: %q, want %q", got, want)
	}
	if got, want := overdraw(2, []string{"a\n"}), "\x1b[2A\r\x1b[2Ka\n\x1b[J"; got != want {
		t.Errorf("again: %q, want %q", got, want)
	}
}

func TestPrefixWriter(t *testing.T) {
	var out strings.Builder
	w := &prefixWriter{prefix: "shim: ", next: &out}
	for _, piece := range []string{"one\ntw", "o\n", "", "three\nfour\n"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Errorf("%q: %d, %v", piece, n, err)
		}
	}
	if want := "shim: one\nshim: two\nshim: three\nshim: four\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
