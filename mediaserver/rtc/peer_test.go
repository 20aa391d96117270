package rtc

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/numbers"
)

const (
	audioKind = media.Audio
	videoKind = media.Video
)

var (
	opus = codecs.Opus.Format("")
	vp8  = codecs.VP8.Format("")
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

type connection struct {
	peer         *Peer
	client       *client
	audio, video *recorder
	connected    chan struct{}
	closed       chan error
	needed       chan struct{}
}

// newConnection makes a peer and its client, with uplinks or without; nothing is negotiated yet.
func newConnection(t testing.TB, engine *Engine, sends bool) *connection {
	t.Helper()
	c := &connection{
		client: newClient(t, sends, sends), audio: newRecorder(), video: newRecorder(),
		connected: make(chan struct{}), closed: make(chan error, 1), needed: make(chan struct{}, 1000),
	}
	config := PeerConfig{
		Opus:                codecs.OpusParameters{Stereo: true, SpropStereo: true, InbandFEC: true, MinPTime: 10},
		OnConnected:         func() { close(c.connected) },
		OnClosed:            func(err error) { c.closed <- err },
		OnNegotiationNeeded: func() { c.needed <- struct{}{} },
	}
	if sends {
		config.Audio = &Uplink{MaxBitRate: 64_000, Receiver: c.audio}
		config.Video = &Uplink{Format: vp8, MaxBitRate: 2_000_000, Receiver: c.video}
	}
	var err error
	if c.peer, err = engine.NewPeer(config); err != nil {
		t.Fatal(err)
	}

	return c
}

func connect(t testing.TB, engine *Engine, sends bool) *connection {
	t.Helper()
	c := newConnection(t, engine, sends)
	negotiate(t, c.peer, c.client)
	within(t, "connection", c.connected)
	within(t, "connection at the client", c.client.connected)

	return c
}

func lines(t *testing.T, sdp string) []string {
	t.Helper()
	parts := strings.Split(sdp, "\r\nm=")

	return parts[1:]
}

func TestOfferShape(t *testing.T) {
	c := newConnection(t, newEngine(t), true)
	for _, format := range []codecs.Format{vp8, opus} {
		if _, err := c.peer.AddDownlink("SENDER", format); err != nil {
			t.Fatal(err)
		}
	}
	offer, err := c.peer.Offer()
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ media, mid, direction, msid string }{
		{"audio", "0", "recvonly", ""},
		{"video", "1", "recvonly", ""},
		{"video", "2", "sendonly", "a=msid:SENDER "},
		{"audio", "3", "sendonly", "a=msid:SENDER "},
	}
	got := lines(t, offer)
	if len(got) != len(want) {
		t.Fatalf("%d m-lines, want %d:\n%s", len(got), len(want), offer)
	}
	for i, w := range want {
		for _, part := range []string{"a=mid:" + w.mid, "a=" + w.direction, "a=setup:actpass", "a=rtcp-mux", w.msid} {
			if !strings.HasPrefix(got[i], w.media) || !strings.Contains(got[i], part) {
				t.Errorf("m-line %d has no %q:\n%s", i, part, got[i])
			}
		}
	}
	port := fmt.Sprint(c.peer.engine.socket.Addr().Port())
	if !regexp.MustCompile(`a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 ` + port + ` typ host`).MatchString(got[0]) {
		t.Errorf("no candidate of the socket in the first m-line:\n%s", got[0])
	}
	for i, bandwidth := range []string{"b=TIAS:64000\r", "b=TIAS:2000000\r"} {
		for _, part := range []string{bandwidth,
			"a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01", " transport-cc\r"} {
			if !strings.Contains(got[i], part) {
				t.Errorf("m-line %d has no %q:\n%s", i, part, got[i])
			}
		}
	}
	if !strings.Contains(got[2], "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time") ||
		strings.Contains(got[3], "a=extmap:") || strings.Contains(got[0]+got[1], "abs-send-time") {
		t.Errorf("send times are not for the video that the client receives, alone:\n%s", offer)
	}
	for _, unwanted := range []string{"transport-cc", "b="} {
		if strings.Contains(got[2]+got[3], unwanted) {
			t.Errorf("lines on which the client receives have %q:\n%s", unwanted, offer)
		}
	}
	for _, unwanted := range []string{":97 transport-cc", ".local", "ulpfec", "red/", "cryptex", "dependency-descriptor"} {
		if strings.Contains(offer, unwanted) {
			t.Errorf("offer has %q:\n%s", unwanted, offer)
		}
	}
	for _, part := range []string{
		"a=rtpmap:96 VP8/90000", "a=rtcp-fb:96 nack\r", "a=rtcp-fb:96 nack pli", "a=rtcp-fb:96 ccm fir",
		"a=rtcp-fb:96 goog-remb",
		"a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1\r",
		"a=group:BUNDLE 0 1 2 3", "a=ice-lite\r", "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96", "a=ssrc-group:FID ",
	} {
		if !strings.Contains(offer, part) {
			t.Errorf("offer has no %q:\n%s", part, offer)
		}
	}
	if audio, video := c.peer.UplinkMIDs(); audio != "0" || video != "1" {
		t.Errorf("uplinks are %q and %q", audio, video)
	}
	if _, err := c.peer.Offer(); !errors.Is(err, ErrAnswerOutstanding) {
		t.Errorf("second offer: %v", err)
	}
}

func TestUplinkArrivesExactly(t *testing.T) {
	c := connect(t, newEngine(t), true)
	if sends := c.peer.Sends(); len(sends) != 2 || sends[0] != audioKind || sends[1] != videoKind {
		t.Errorf("client sends %v", sends)
	}
	const count = 50
	for i := range uint16(count) {
		packet := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: 65520 + i, Timestamp: uint32(i) * 3000},
			Payload: []byte{byte(i), 1, 2}}
		if i%7 == 3 {
			packet.Padding, packet.PaddingSize = true, 9
		}
		if err := c.client.video.WriteRTP(packet); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all packets at the uplink", func() bool { return len(c.video.received()) >= count }, func() {})
	for i, packet := range c.video.received() {
		if packet.SequenceNumber != numbers.Apart+65520+uint64(i) || packet.Timestamp != uint32(i)*3000 ||
			len(packet.Payload) != 3 || packet.Payload[0] != byte(i) {
			t.Errorf("packet %d is %v", i, packet)
		}
	}
	if got := c.audio.received(); len(got) != 0 {
		t.Errorf("%d packets at the audio uplink", len(got))
	}

	report := &rtcp.SenderReport{SSRC: ssrcOf(c.client.senders[1]), NTPTime: 1 << 40, RTPTime: 77}
	until(t, "sender report", func() bool { return len(c.video.reports) > 0 }, func() {
		_ = c.client.pc.WriteRTCP([]rtcp.Packet{report})
	})
	if got := <-c.video.reports; got != (clockPair{0, 1 << 40, 77}) {
		t.Errorf("sender report %v", got)
	}
}

func ssrcOf(sender *webrtc.RTPSender) uint32 { return uint32(sender.GetParameters().Encodings[0].SSRC) }

func TestServerFeedbackReachesSender(t *testing.T) {
	c := connect(t, newEngine(t), true)
	ssrc := ssrcOf(c.client.senders[1])
	feedback := rtcpOf(c.client, c.client.senders[1])
	for _, n := range []uint16{1, 3} { // 2 is missing
		if err := c.client.video.WriteRTP(numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "packets at the uplink", func() bool { return len(c.video.received()) == 2 }, func() {})

	c.peer.RequestKeyframe(media.LayersOf(0))
	var pli, nack, estimate bool
	for !pli || !nack || !estimate {
		switch packet := within(t, "PLI, NACK and REMB", feedback).(type) {
		case *rtcp.PictureLossIndication:
			pli = pli || packet.MediaSSRC == ssrc
		case *rtcp.TransportLayerNack:
			nack = nack || packet.MediaSSRC == ssrc && packet.Nacks[0].PacketID == 2
		case *rtcp.ReceiverEstimatedMaximumBitrate:
			if packet.Bitrate < 2_060_000 || packet.Bitrate > 2_064_000 {
				t.Fatalf("estimate of %v bit/s", packet.Bitrate)
			}
			estimate = true
		}
	}
}

func TestSenderChangesItsSSRC(t *testing.T) {
	c := connect(t, newEngine(t), true)
	write := func(track *webrtc.TrackLocalStaticRTP, n uint16) {
		_ = track.WriteRTP(numbered(n))
	}
	write(c.client.video, 1)
	until(t, "first stream", func() bool { return len(c.video.received()) == 1 }, func() {})

	if err := c.client.pc.RemoveTrack(c.client.senders[1]); err != nil {
		t.Fatal(err)
	}
	negotiate(t, c.peer, c.client)
	if sends := c.peer.Sends(); len(sends) != 1 || sends[0] != audioKind {
		t.Errorf("client sends %v", sends)
	}
	next := c.client.localTrack(t, webrtc.MimeTypeVP8, "next")
	negotiate(t, c.peer, c.client)
	if sends := c.peer.Sends(); len(sends) != 2 {
		t.Errorf("client sends %v", sends)
	}
	write(next, 500)
	until(t, "second stream", func() bool { return len(c.video.received()) == 2 }, func() {})
	if got := uint16(c.video.received()[1].SequenceNumber); got != 500 {
		t.Errorf("packet %d", got)
	}
}

func TestClientGoesAway(t *testing.T) {
	c := connect(t, newEngine(t), true)
	if err := bot.ClosePeer(c.client.pc); err != nil {
		t.Fatal(err)
	}
	if err := within(t, "OnClosed", c.closed); !errors.Is(err, ErrClosedByClient) {
		t.Errorf("closed with %v", err)
	}
	if err := c.peer.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := c.peer.Offer(); !errors.Is(err, ErrClosed) {
		t.Errorf("offer after close: %v", err)
	}
	if _, err := c.peer.AddDownlink("X", vp8); !errors.Is(err, ErrClosed) {
		t.Errorf("downlink after close: %v", err)
	}
}
