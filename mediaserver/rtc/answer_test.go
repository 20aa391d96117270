package rtc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

const digest = "sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B:65:2E:7D:46:3F:54:42:CD:54:F1"

// firefox answers as Firefox does: attributes of the transport in the first m-line only, what holds for all of them at
// session level, an SSRC in lines on which it only receives (of its RTCP), and a rejected m-line that has nothing but
// its mid.
var firefox = strings.ReplaceAll(`v=0
o=mozilla...THIS_IS_SDPARTA-128.0 4962303333179871722 1 IN IP4 0.0.0.0
s=-
t=0 0
a=fingerprint:`+digest+`
a=group:BUNDLE 0 1 2
a=ice-options:trickle
a=msid-semantic:WMS *
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=sendonly
a=end-of-candidates
a=fmtp:111 maxplaybackrate=48000;stereo=1;useinbandfec=1
a=ice-pwd:4ad3e7e3d8ac1d2e6b0c3b0e8a7c9d1f
a=ice-ufrag:8a7c9d1f
a=mid:0
a=msid:{3d3b6f8f-7a2b-4b0c-9a3b-2f8c9d1e0a1b} {c8c0f7a2-0c64-4b0c-8d8c-8f1e2d3c4b5a}
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=setup:active
a=ssrc:1001 cname:{86fd1a3a-8e3a-4b8e-b2c0-1a2b3c4d5e6f}
m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 0.0.0.0
a=sendonly
a=fmtp:96 max-fs=12288;max-fr=60
a=fmtp:97 apt=96
a=mid:1
a=msid:{3d3b6f8f-7a2b-4b0c-9a3b-2f8c9d1e0a1b} {d9d1f8b3-1d75-4c1d-9e9d-9f2f3e4d5c6b}
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtcp-fb:96 ccm fir
a=rtcp-fb:96 goog-remb
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtpmap:97 rtx/90000
a=setup:active
a=ssrc:2001 cname:{86fd1a3a-8e3a-4b8e-b2c0-1a2b3c4d5e6f}
a=ssrc:2002 cname:{86fd1a3a-8e3a-4b8e-b2c0-1a2b3c4d5e6f}
a=ssrc-group:FID 2001 2002
m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 0.0.0.0
a=recvonly
a=fmtp:97 apt=96
a=mid:2
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtpmap:97 rtx/90000
a=setup:active
a=ssrc:3001 cname:{86fd1a3a-8e3a-4b8e-b2c0-1a2b3c4d5e6f}
m=audio 0 UDP/TLS/RTP/SAVPF 0
c=IN IP4 0.0.0.0
a=inactive
a=mid:3
`, "\n", "\r\n")

// safari answers as Safari does, and as Chrome, whose code is the same: the transport in each m-line, no a=ssrc where
// it only receives, VP8 without retransmissions; and the m-line that it rejects is skipped as RFC 8829 section 5.3.1
// allows.
var safari = strings.ReplaceAll(`v=0
o=- 6074826109229134226 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1 2
a=extmap-allow-mixed
a=msid-semantic: WMS 5c9cb3a5-1c6a-4f4f-8f1c-7e3e7b0c1b1a
`+safariLine("audio", "111", "0", "sendonly")+`a=ssrc:1001 cname:Wz3kYxJq9vJ4F1bT
a=ssrc:1001 msid:5c9cb3a5-1c6a-4f4f-8f1c-7e3e7b0c1b1a 0a1b2c3d
`+safariLine("video", "96", "1", "sendonly")+`a=ssrc:2001 cname:Wz3kYxJq9vJ4F1bT
`+safariLine("video", "96", "2", "recvonly")+`m=audio 0 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
`, "\n", "\r\n")

func safariLine(media, payloadType, mid, direction string) string {
	return fmt.Sprintf(`m=%s 9 UDP/TLS/RTP/SAVPF %s
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:Xq9v
a=ice-pwd:J4F1bTWz3kYxJq9vJ4F1bTWz
a=ice-options:trickle
a=fingerprint:%s
a=setup:active
a=mid:%s
a=%s
a=rtcp-mux
a=rtcp-rsize
`, media, payloadType, digest, mid, direction)
}

// The answers of browsers are accepted, and mean what they say.
func TestAnswersOfBrowsers(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		rtx    uint8
		ssrcs  string
	}{
		"Firefox":                     {firefox, 97, "[1001 false 2001 false 2002 true]"},
		"Safari":                      {safari, 0, "[1001 false 2001 false]"},
		"Firefox with bare line ends": {strings.ReplaceAll(firefox, "\r\n", "\n"), 97, "[1001 false 2001 false 2002 true]"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newConnection(t, newEngine(t), true).peer
			var downlinks []*Downlink
			for _, format := range []codecs.Format{vp8, opus} {
				d, err := p.AddDownlink("SENDER", format)
				must(t, err)
				downlinks = append(downlinks, d)
			}
			for range 2 { // A re-offer gets the same answer.
				_, err := p.Offer()
				must(t, err)
				must(t, p.Answer(c.answer))
			}
			if got := p.Sends(); !slices.Equal(got, []media.Kind{audioKind, videoKind}) {
				t.Errorf("it sends %v", got)
			}
			var ssrcs []string
			for _, stream := range p.inbound.streams {
				ssrcs = append(ssrcs, fmt.Sprint(stream.ssrc, stream.retransmissions))
			}
			if got := fmt.Sprint(ssrcs); got != c.ssrcs {
				t.Errorf("streams %s, want %s", got, c.ssrcs)
			}
			if got := downlinks[0].negotiated; got == nil || got.payloadTypes != (payloadTypes{96, c.rtx}) {
				t.Errorf("the video that it receives has the payload types %v", got)
			}
			if got := downlinks[1].negotiated; got != nil {
				t.Errorf("the audio that it rejects has the payload types %v", got)
			}
		})
	}
}

// FuzzReadAnswer: whatever an answer says, what is read of it fits the offer, and payload types are some that packets
// can have.
func FuzzReadAnswer(f *testing.F) {
	c := newConnection(f, newEngine(f), true)
	receiveOneOfEach(f, c.peer)
	offer, err := c.peer.Offer()
	if err != nil {
		f.Fatal(err)
	}
	good := c.client.answer(f, offer)
	for _, change := range hostile {
		f.Add(change(good))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range c.peer.sections() {
			s.answered, s.read = 0, answeredMedia{}
		}
		read, err := c.peer.readAnswer(text)
		if err != nil {
			return
		}
		if len(read.media) != len(c.peer.sections()) {
			t.Fatalf("%d m-lines", len(read.media))
		}
		for i, m := range read.media {
			if m.rejected != (m.types.media == 0) || m.rejected && (m.sends || m.receives || m.ssrc != 0) ||
				m.types.media > 127 || m.types.rtx > 127 || m.types.rtx == m.types.media && !m.rejected || m.types.rtx == 0 &&
				m.rtx != 0 {
				t.Fatalf("m-line %d is read as %+v", i, m)
			}
		}
	})
}

// A format of the other kind in an m-line is none of its formats.
func TestAnswerWithFormatsOfTheOtherKind(t *testing.T) {
	p := newConnection(t, newEngine(t), false).peer
	d, err := p.AddDownlink("SENDER", opus)
	must(t, err)
	_, err = p.Offer()
	must(t, err)
	head, _, _ := strings.Cut(safari, "m=")
	must(t, p.Answer(head+strings.ReplaceAll(safariLine("audio", "111 96 97", "0", "recvonly"), "\n", "\r\n")))
	if got := d.negotiated; got == nil || got.payloadTypes != (payloadTypes{media: 111}) {
		t.Errorf("payload types %v", got)
	}
}
