//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strings"
)

// The ends of lines as they stand in JSON. Offers are answered without being unescaped: one core
// has to play all clients, and an SDP has nothing else that JSON escapes.
const (
	escapedEnd  = `\r\n`
	escapedNext = escapedEnd + "m="
)

// channelAnswers makes a client's answers, as libwebrtc does, attribute by attribute. An m-line that
// is offered as it was before is answered as it was before.
type channelAnswers struct {
	transport string    // What stands in each m-line of the client's transport.
	mids      [2]string // The m-lines on which the client sends.
	lines     []answeredChannelLine
}

type answeredChannelLine struct{ offered, answered []byte }

// answer answers the SDP of an offer, both escaped. It returns how many m-lines there
// are, and how many of them have a stream for the client.
func (a *channelAnswers) answer(offer []byte) (answer []byte, lines, streams int) {
	session, rest, _ := bytes.Cut(offer, []byte(escapedNext))
	b := bytes.NewBuffer(make([]byte, 0, len(offer)+len(offer)/2))
	b.WriteString("v=0" + escapedEnd + "o=- 1 2 IN IP4 127.0.0.1" + escapedEnd + "s=-" + escapedEnd + "t=0 0" + escapedEnd)
	for line := range bytes.SplitSeq(session, []byte(escapedEnd)) {
		if bytes.HasPrefix(line, []byte("a=group:")) {
			b.Write(line)
			b.WriteString(escapedEnd)
		}
	}
	b.WriteString("a=extmap-allow-mixed" + escapedEnd + "a=msid-semantic: WMS" + escapedEnd)
	for section := range bytes.SplitSeq(rest, []byte(escapedNext)) {
		if lines == len(a.lines) {
			a.lines = append(a.lines, answeredChannelLine{})
		}
		line := &a.lines[lines]
		if !bytes.Equal(bytes.TrimSuffix(section, []byte(escapedEnd)), line.offered) {
			line.offered = bytes.Clone(bytes.TrimSuffix(section, []byte(escapedEnd)))
			line.answered = []byte(a.line(string(line.offered)))
		}
		b.Write(line.answered)
		if bytes.Contains(line.answered, []byte("a=recvonly")) {
			streams++
		}
		lines++
	}

	return b.Bytes(), lines, streams
}

// line answers one m-line.
func (a *channelAnswers) line(section string) string {
	first, attributes, _ := strings.Cut(section, escapedEnd)
	lines := []string{"m=" + first, "c=IN IP4 0.0.0.0", "a=rtcp:9 IN IP4 0.0.0.0", a.transport}
	mid, direction := "", "inactive"
	for line := range strings.SplitSeq(attributes, escapedEnd) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "a=mid":
			mid = value
		case "a=sendonly":
			direction = "recvonly"

			continue
		case "a=rtcp-mux", "a=rtcp-rsize", "a=extmap", "a=rtpmap", "a=fmtp", "a=rtcp-fb":
		default:
			continue
		}
		lines = append(lines, line)
	}
	if mid == a.mids[0] || mid == a.mids[1] {
		direction = "sendonly"
		kind, _, _ := strings.Cut(first, " ")
		ssrc := map[bool]int{true: 1000, false: 2000}[kind == "audio"]
		lines = append(lines, "a=msid:bench "+kind, fmt.Sprintf("a=ssrc:%d cname:bench", ssrc))
		if kind == "video" {
			lines = append(lines, fmt.Sprintf("a=ssrc-group:FID %d %d", ssrc, ssrc+1),
				fmt.Sprintf("a=ssrc:%d cname:bench", ssrc+1))
		}
	}

	return strings.Join(append(lines, "a="+direction, ""), escapedEnd)
}
