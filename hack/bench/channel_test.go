//go:build linux

package main

import (
	"strings"
	"testing"
)

// Offers are answered as they stand in JSON, m-line by m-line.
func TestChannelAnswers(t *testing.T) {
	escaped := func(lines ...string) string { return strings.Join(lines, escapedEnd) + escapedEnd }
	head := []string{"v=0", "o=- 7 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0 1", "a=ice-lite"}
	uplink := []string{"m=video 9 UDP/TLS/RTP/SAVPF 96 97", "c=IN IP4 0.0.0.0", "a=setup:actpass", "a=mid:0",
		"a=rtpmap:96 VP8/90000", "a=recvonly", "a=candidate:1 1 udp 1 127.0.0.1 9 typ host"}
	downlink := []string{"m=audio 9 UDP/TLS/RTP/SAVPF 111", "c=IN IP4 0.0.0.0", "a=setup:actpass", "a=mid:1",
		"a=rtcp-mux", "a=rtpmap:111 opus/48000/2", "a=sendonly", "a=msid:a b", "a=ssrc:7 cname:a"}
	offer := escaped(append(append(head, uplink...), downlink...)...)
	want := escaped("v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1", "a=extmap-allow-mixed",
		"a=msid-semantic: WMS",
		uplink[0], uplink[1], "a=rtcp:9 IN IP4 0.0.0.0", "TRANSPORT", "a=mid:0", "a=rtpmap:96 VP8/90000",
		"a=msid:bench video", "a=ssrc:2000 cname:bench", "a=ssrc-group:FID 2000 2001", "a=ssrc:2001 cname:bench",
		"a=sendonly",
		downlink[0], downlink[1], "a=rtcp:9 IN IP4 0.0.0.0", "TRANSPORT", "a=mid:1", "a=rtcp-mux",
		"a=rtpmap:111 opus/48000/2", "a=recvonly")
	a := channelAnswers{transport: "TRANSPORT", mids: [2]string{"", "0"}}
	for range 2 { // The second time from memory.
		if answer, lines, streams := a.answer([]byte(offer)); string(answer) != want || lines != 2 || streams != 1 {
			t.Errorf("%d m-lines, %d streams, answered\n%s\nwant\n%s", lines, streams, answer, want)
		}
	}
	ended := strings.Replace(strings.Replace(offer, "a=sendonly", "a=inactive", 1), "a=msid:a b", "a=x", 1)
	answer, _, streams := a.answer([]byte(ended))
	if streams != 0 || !strings.HasSuffix(string(answer), escaped("a=inactive")) {
		t.Errorf("%d streams after the end, answered\n%s", streams, answer)
	}
}

func TestChannelKinds(t *testing.T) {
	for _, kind := range channelKinds() {
		const connections = 50
		streams := 0
		for index := range connections {
			streams += kind.streams(index, connections)
		}
		if streams != 2*kind.edges(connections) {
			t.Errorf("%s: %d streams on %d edges", kind.name, streams, kind.edges(connections))
		}
	}
}
