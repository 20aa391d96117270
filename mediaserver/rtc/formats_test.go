package rtc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
)

var (
	vp9  = codecs.VP9.Format("")
	h264 = codecs.H264.Format("")
	av1  = codecs.AV1.Format("")
)

// An m-line has one codec, the sender's, with its retransmissions; and each codec has one payload type in the session.
func TestEachCodecHasLinesOfItsOwn(t *testing.T) {
	p, err := newEngine(t).NewPeer(PeerConfig{Video: &Uplink{Format: vp9, Receiver: newRecorder()}})
	must(t, err)
	high, deep := codecs.H264.Format("640c1f"), codecs.VP9.Format("2")
	for _, format := range []codecs.Format{vp8, h264, av1, vp9, high, deep, vp8} {
		_, err := p.AddDownlink("SENDER", format)
		must(t, err)
	}
	offer, err := p.Offer()
	must(t, err)
	got := lines(t, offer)
	for i, want := range []struct{ payloadTypes, name, parameters string }{
		{"96 97", "VP9/90000", "profile-id=0"},
		{"98 99", "VP8/90000", ""},
		{"100 101", "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"},
		{"102 103", "AV1/90000", "level-idx=5;tier=0;profile=0"},
		{"96 97", "VP9/90000", "profile-id=0"},
		{"104 105", "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f"},
		{"106 107", "VP9/90000", "profile-id=2"},
		{"98 99", "VP8/90000", ""},
	} {
		media, rtx, _ := strings.Cut(want.payloadTypes, " ")
		parts := []string{
			"video 9 UDP/TLS/RTP/SAVPF " + want.payloadTypes + "\r\n", "a=rtpmap:" + media + " " + want.name + "\r\n",
			"a=rtcp-fb:" + media + " nack pli\r\n",
			"a=rtpmap:" + rtx + " rtx/90000\r\n", "a=fmtp:" + rtx + " apt=" + media + "\r\n",
		}
		if want.parameters != "" {
			parts = append(parts, "a=fmtp:"+media+" "+want.parameters+"\r\n")
		}
		for _, part := range parts {
			if !strings.Contains(got[i], part) {
				t.Errorf("m-line %d has no %q:\n%s", i, part, got[i])
			}
		}
		if n := strings.Count(got[i], "a=rtpmap:"); n != 2 {
			t.Errorf("m-line %d has %d formats:\n%s", i, n, got[i])
		}
	}
}

// A free m-line serves the next stream of its codec, and of no other one. Its stream arrives, with the payload
// type that the codec has.
func TestFreeLineServesItsCodecAlone(t *testing.T) {
	c := connect(t, newEngine(t), true)
	streamOf := func(streamID string, format codecs.Format, mLines int, payloadType uint8) *Downlink {
		t.Helper()
		d, err := c.peer.AddDownlink(streamID, format)
		must(t, err)
		f := newFed()
		d.Attach(f)
		offer := negotiate(t, c.peer, c.client)
		if n := len(lines(t, offer)); n != mLines {
			t.Errorf("%d m-lines with %s, want %d", n, streamID, mLines)
		}
		within(t, "Bound", f.bound)
		s, packets := readStream(t, c.client, d, 1)
		if got := packets[0].PayloadType; s.track.StreamID() != streamID || got != payloadType {
			t.Errorf("%s came as %s with payload type %d, want %d", streamID, s.track.StreamID(), got, payloadType)
		}

		return d
	}
	first := streamOf("FIRST", vp8, 3, 96)
	must(t, first.Remove())
	negotiate(t, c.peer, c.client)
	streamOf("SECOND", vp9, 4, 98)
	streamOf("THIRD", vp8, 4, 96)
	streamOf("FOURTH", h264, 5, 100)
}

// newConnectionOf is newConnection with a client that receives, and knows Opus and these codecs of video alone.
func newConnectionOf(t *testing.T, mimeTypes ...string) *connection {
	t.Helper()
	know := func(media *webrtc.MediaEngine) {
		*media = webrtc.MediaEngine{}
		must(t, media.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48_000, Channels: 2},
			PayloadType:        111,
		}, webrtc.RTPCodecTypeAudio))
		for i, mimeType := range mimeTypes {
			must(t, media.RegisterCodec(webrtc.RTPCodecParameters{
				RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mimeType, ClockRate: 90_000},
				PayloadType:        webrtc.PayloadType(120 + i),
			}, webrtc.RTPCodecTypeVideo))
		}
	}
	c := newConnection(t, newEngine(t), false)
	c.client = newClientWith(t, nil, know, false, false)

	return c
}

// A codec that the client does not know costs it the streams of that codec alone. It is asked once: its m-lines stay
// rejected, and no other is made.
func TestRejectedCodec(t *testing.T) {
	c := newConnectionOf(t, webrtc.MimeTypeVP8)
	unknown, err := c.peer.AddDownlink("UNKNOWN", av1) // It would be the first m-line, which has the candidates.
	must(t, err)
	d, err := c.peer.AddDownlink("KNOWN", vp8)
	must(t, err)
	f := newFed()
	d.Attach(f)
	offer, err := c.peer.Offer()
	must(t, err)
	meanwhile, err := c.peer.AddDownlink("MEANWHILE", av1)
	must(t, err)
	must(t, c.peer.Answer(c.client.answer(t, offer)))
	within(t, "connection", c.connected)
	within(t, "Bound", f.bound)
	if got := c.peer.Rejected(); !slices.Equal(got, []codecs.Format{av1}) {
		t.Fatalf("rejected: %v", got)
	}
	if s, _ := readStream(t, c.client, d, 1); s.track.StreamID() != "KNOWN" {
		t.Errorf("stream %q", s.track.StreamID())
	}

	if _, err := c.peer.AddDownlink("LATER", av1); !errors.Is(err, ErrFormatNotTaken) {
		t.Errorf("a later stream of the codec: %v", err)
	}
	for len(c.needed) > 0 {
		<-c.needed
	}
	must(t, unknown.Remove())
	must(t, meanwhile.Remove())
	if len(c.needed) > 0 {
		t.Error("another offer is wanted, which would say nothing new")
	}
	late, _ := bind(t, c, "LATE")
	if s, _ := readStream(t, c.client, late, 1); s.track.StreamID() != "LATE" {
		t.Errorf("stream %q", s.track.StreamID())
	}
	offer = negotiate(t, c.peer, c.client)
	for i, line := range lines(t, offer) {
		unknown := i == 1 // That of who came meanwhile nobody has seen.
		if strings.Contains(line, "AV1") != unknown || strings.HasPrefix(line, "video 0 ") != unknown {
			t.Errorf("m-line %d:\n%s", i, line)
		}
	}
	if !strings.Contains(offer, "a=group:BUNDLE 0 2 3\r\n") {
		t.Errorf("rejected m-lines are in the BUNDLE group:\n%s", offer)
	}
}

// A client that takes a codec, and not each of its m-lines, has not rejected the codec.
func TestRejectedLineIsNoRejectedCodec(t *testing.T) {
	for name, c := range map[string]struct {
		rejects  string // the m-line
		rejected bool
	}{
		"the first of two": {"1", false}, "the second of two": {"2", false}, "both": {"12", true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newConnection(t, newEngine(t), false).peer
			done(p.AddDownlink("FIRST", vp8))(t)
			done(p.AddDownlink("SECOND", vp8))(t)
			done(p.Offer())(t)
			answer := answerHead() + answerLine("audio", "111", "0", "inactive")
			for _, mid := range []string{"1", "2"} {
				line := answerLine("video", "96", mid, "recvonly")
				if strings.Contains(c.rejects, mid) {
					line = strings.Replace(line, "video 9", "video 0", 1)
				}
				answer += line
			}
			must(t, p.Answer(answer))
			if got := slices.Contains(p.Rejected(), vp8); got != c.rejected {
				t.Errorf("the codec counts as rejected: %v", got)
			}
			offer, err := p.Offer()
			must(t, err)
			for mid, line := range lines(t, offer) {
				rejected := strings.Contains(c.rejects, strconv.Itoa(mid))
				if strings.HasPrefix(line, "video 0 ") != rejected || strings.Contains(line, "a=msid") == (rejected || mid == 0) {
					t.Errorf("m-line %d:\n%s", mid, line)
				}
			}
		})
	}
}

// A client may call formats otherwise than the offer does (RFC 3264 section 6.1): what it is sent has its
// payload types, what it sends has the offer's.
func TestPayloadTypesOfTheClientsOwn(t *testing.T) {
	c := newConnection(t, newEngine(t), true)
	d, err := c.peer.AddDownlink("SENDER", h264)
	must(t, err)
	done(c.peer.Offer())(t)
	described := "a=rtpmap:45 h264/90000\r\na=rtpmap:46 RTX/90000\r\n" +
		"a=fmtp:46 rtx-time=100;apt=45\r\na=rtpmap:47 VP8/90000\r\n"
	answer := answerHead() + answerLine("audio", "111", "0", "inactive") +
		answerLine("video", "47", "1", "sendonly") + "a=rtpmap:47 VP8/90000\r\na=ssrc:2001 cname:x\r\n" +
		answerLine("video", "47 45 46", "2", "recvonly") + described
	must(t, c.peer.Answer(answer))
	if got := d.negotiated; got == nil || got.payloadTypes != (payloadTypes{45, 46}) {
		t.Errorf("it is sent payload types %v", got)
	}
	if got := c.peer.inbound.stream(2001); got == nil || got.payloadType != 96 {
		t.Errorf("it sends %+v", got)
	}
}

// A client that cannot send what it asked to send sends nothing of the kind, and receives all the same.
func TestSenderWithoutItsCodec(t *testing.T) {
	c := newConnection(t, newEngine(t), true)
	offer, err := c.peer.Offer()
	must(t, err)
	must(t, c.peer.Answer(strings.ReplaceAll(c.client.answer(t, offer), "SAVPF 96", "SAVPF 101")))
	if sends := c.peer.Sends(); !slices.Equal(sends, []media.Kind{audioKind}) {
		t.Errorf("it sends %v", sends)
	}
	if rejected := c.peer.Rejected(); len(rejected) != 0 {
		t.Errorf("it was not offered to receive %v", rejected)
	}
}

// A session has as many formats as there are payload types. Senders with odd profiles use up no more than that.
func TestAsManyFormatsAsPayloadTypes(t *testing.T) {
	p := newConnection(t, newEngine(t), true).peer
	seen := map[uint8]bool{opusPayloadType: true}
	for i := range maxFormats - 1 { // One is the uplink's.
		format := codecs.H264.Format(fmt.Sprintf("42e0%02x", i))
		done(p.AddDownlink("SENDER", format))(t)
		types := p.formats.payloadTypes(format)
		if types.media < 96 || types.rtx > 127 || seen[types.media] || seen[types.rtx] {
			t.Errorf("format %d has payload types %v", i, types)
		}
		seen[types.media], seen[types.rtx] = true, true
	}
	if _, err := p.AddDownlink("SENDER", av1); !errors.Is(err, ErrFormatNotTaken) {
		t.Errorf("one more: %v", err)
	}
	done(p.AddDownlink("SENDER", vp8))(t)
}

func done[T any](_ T, err error) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		must(t, err)
	}
}

func answerHead() string {
	head, _, _ := strings.Cut(safari, "m=")

	return head
}

// answerLine is an m-line of an answer.
func answerLine(media, payloadTypes, mid, direction string) string {
	return strings.ReplaceAll(safariLine(media, payloadTypes, mid, direction), "\n", "\r\n")
}
