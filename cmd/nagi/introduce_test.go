package main

import (
	"os/exec"
	"strings"
	"testing"
)

// awkward holds what shells, JSON and YAML treat specially.
const awkward = `it's "a" $channel; {x}: \ 凪`

func TestShellQuote(t *testing.T) {
	for _, text := range []string{"", "sora", "a b", awkward, "'", "-x", "~", "*"} {
		output, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "printf %s "+shellQuote(text)).Output()
		if err != nil || string(output) != text {
			t.Errorf("the shell takes %s for %q (%v), want %q", shellQuote(text), output, err, text)
		}
	}
}

func TestCommandLines(t *testing.T) {
	fields := [][2]string{{"channel_id", "sora"}, {"recv_connection_id", "R"}, {"send_connection_id", "S"}}
	const documented = "http POST 127.0.0.1:3000/ x-sora-target:Sora_20200401.PauseRtpStream channel_id=sora " +
		"recv_connection_id=R send_connection_id=S"
	if line := httpie("127.0.0.1:3000", "Sora_20200401.PauseRtpStream", fields); line != documented {
		t.Errorf("got %s\nwant %s", line, documented)
	}
	const want = `curl -H 'x-sora-target: Sora_20200401.PauseRtpStream' -d '{"channel_id":"sora",` +
		`"recv_connection_id":"R","send_connection_id":"S"}' http://127.0.0.1:3000/`
	if line := curl("127.0.0.1:3000", "Sora_20200401.PauseRtpStream", fields); line != want {
		t.Errorf("got %s\nwant %s", line, want)
	}
	line := strings.Replace(curl("x", "y", [][2]string{{"channel_id", awkward}}), "curl -H 'x-sora-target: y' -d",
		"printf %s", 1)
	output, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", strings.Replace(line, " http://x/", "", 1)).Output()
	if err != nil || string(output) != `{"channel_id":`+jsonString(awkward)+`}` {
		t.Errorf("the shell passes %s (%v)", output, err)
	}
}
