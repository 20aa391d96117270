package rtc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
)

// extended is an RTP packet with a block of header extensions.
func extended(profile uint16, words uint16, block ...byte) []byte {
	packet := append([]byte{0x90}, make([]byte, rtpHeaderBytes-1)...)
	packet = binary.BigEndian.AppendUint16(packet, profile)
	packet = binary.BigEndian.AppendUint16(packet, words)

	return append(packet, block...)
}

func TestExtensions(t *testing.T) {
	withSources := extended(0xbede, 1, 0x10, 7, 0, 0)
	withSources = append(append([]byte{0x92}, withSources[1:rtpHeaderBytes]...),
		append(make([]byte, 8), withSources[rtpHeaderBytes:]...)...)
	for name, c := range map[string]struct {
		packet []byte
		want   string
	}{
		"none":                        {make([]byte, rtpHeaderBytes), ""},
		"one byte":                    {extended(0xbede, 2, 0x31, 1, 2, 0x10, 7, 0, 0, 0), "3:0102 1:07"},
		"padding between":             {extended(0xbede, 2, 0, 0, 0x31, 1, 2, 0, 0x10, 7), "3:0102 1:07"},
		"two bytes":                   {extended(0x1000, 2, 3, 2, 1, 2, 200, 1, 7, 0), "3:0102 200:07"},
		"two bytes, none of them":     {extended(0x1005, 1, 3, 0, 4, 0), "3: 4:"},
		"an application's":            {extended(0x1234, 1, 0x10, 7, 0, 0), ""},
		"after sources":               {withSources, "1:07"},
		"what follows is payload":     {extended(0xbede, 1, 0x10, 7, 0, 0, 0x20, 8), "1:07"},
		"beyond the packet":           {extended(0xbede, 2, 0x10, 7, 0, 0), ""},
		"cut in the header":           {extended(0xbede, 1)[:rtpHeaderBytes+3], ""},
		"a value beyond the block":    {extended(0xbede, 1, 0x10, 7, 0x3f, 1, 9, 9, 9, 9), "1:07"},
		"a long one beyond the block": {extended(0x1000, 1, 1, 1, 7, 3), "1:07"},
		"reserved":                    {extended(0xbede, 2, 0x10, 7, 0xf0, 1, 0x20, 8, 0, 0), "1:07"},
		"padding that has a length":   {extended(0xbede, 2, 0x10, 7, 0x01, 1, 0x20, 8, 0, 0), "1:07"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			rest := extensionsOf(c.packet)
			for {
				id, value, ok := rest.next()
				if !ok {
					break
				}
				got = append(got, fmt.Sprintf("%d:%x", id, value))
			}
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("extensions %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzExtensions: whatever Pion reads of a packet is found, and nothing of any packet is a reason to fail.
func FuzzExtensions(f *testing.F) {
	f.Add(extended(0xbede, 2, 0x31, 1, 2, 0x10, 7, 0, 0, 0))
	f.Add(extended(0x1000, 2, 3, 2, 1, 2, 200, 1, 7, 0))
	f.Add(extended(0xbede, 1, 0x3f, 1, 9, 9))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) < rtpHeaderBytes {
			return
		}
		for rest, n := extensionsOf(packet), 0; ; n++ {
			if _, _, ok := rest.next(); !ok {
				break
			}
			if n > len(packet) {
				t.Fatal("more extensions than bytes")
			}
		}
		var header rtp.Header
		if _, err := header.Unmarshal(packet); err != nil ||
			header.ExtensionProfile != 0xbede && header.ExtensionProfile != 0x1000 {
			return
		}
		for _, id := range header.GetExtensionIDs() {
			if got, want := extensionsOf(packet).find(id), header.GetExtension(id); !bytes.Equal(got, want) {
				t.Fatalf("extension %d is %x, want %x", id, got, want)
			}
		}
	})
}

// What a client sends, and by which identifier, is in its own description.
func TestTransportWideNumbersAreNegotiated(t *testing.T) {
	uri := transportWideNumber.uri
	for name, c := range map[string]struct {
		lines []string
		want  uint8
	}{
		"as offered":             {[]string{"extmap:3 " + uri, "rtcp-fb:96 transport-cc"}, 3},
		"as the client calls it": {[]string{"extmap:9 " + uri, "rtcp-fb:96 goog-remb", "rtcp-fb:96 transport-cc"}, 9},
		"for all formats":        {[]string{"extmap:3/sendonly " + uri, "rtcp-fb:* transport-cc"}, 3},
		"among others": {[]string{"extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid", "extmap:200 " + uri + " x",
			"rtcp-fb:96 transport-cc"}, 200},
		"no feedback":  {[]string{"extmap:3 " + uri, "rtcp-fb:97 transport-cc"}, 0},
		"no extension": {[]string{"rtcp-fb:96 transport-cc"}, 0},
		"not sent":     {[]string{"extmap:3/recvonly " + uri, "rtcp-fb:96 transport-cc"}, 0},
		"no number":    {[]string{"extmap:x " + uri, "extmap:256 " + uri, "rtcp-fb:96 transport-cc"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			section := &sdp.MediaDescription{}
			for _, line := range c.lines {
				key, value, _ := strings.Cut(line, ":")
				section.WithValueAttribute(key, value)
			}
			if got := readTransportCC(section, 96); got != c.want {
				t.Errorf("identifier %d, want %d", got, c.want)
			}
		})
	}
}
