package bot

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClip(t *testing.T) {
	c, err := loadClip(embedded(false))
	if err != nil {
		t.Fatal(err)
	}
	frames := c.layers[0]
	if total := len(clipVideo) + len(clipAudio); total > 1<<20 {
		t.Errorf("the clip has %d bytes, more than 1 MiB", total)
	}
	if c.frameDuration != 40*time.Millisecond {
		t.Errorf("a frame lasts %s, want 40ms", c.frameDuration)
	}
	sinceKeyframe, spanning := 0, 0
	for i, f := range frames {
		if sinceKeyframe++; f.keyframe {
			sinceKeyframe = 0
		}
		if time.Duration(sinceKeyframe)*c.frameDuration >= time.Second {
			t.Errorf("frame %d is a second or more after the last keyframe", i)
		}
		if len(f.data) > maxPacketBytes {
			spanning++
		} else if f.keyframe {
			t.Errorf("keyframe %d fits into one packet", i)
		}
	}
	if spanning < len(frames)/2 {
		t.Errorf("%d of %d frames span several packets, want most", spanning, len(frames))
	}
	video, audio := time.Duration(len(frames))*c.frameDuration, time.Duration(len(c.audio))*opusFrameDuration
	if (video - audio).Abs() > 100*time.Millisecond {
		t.Errorf("video lasts %s, audio %s", video, audio)
	}
	if at := nextKeyframe(frames, 1); at != 25 {
		t.Errorf("the keyframe after frame 1 is %d, want 25", at)
	}
	if at := nextKeyframe(frames, len(frames)-1); at != 0 {
		t.Errorf("the keyframe after the last frame is %d, want 0", at)
	}
}

// The layers are the same pictures, each twice as wide as the one below.
func TestLayersOfTheClip(t *testing.T) {
	c, err := loadClip(embedded(true))
	if err != nil {
		t.Fatal(err)
	}
	width := uint16(160)
	for i, frames := range c.layers {
		if len(frames) != len(c.layers[2]) {
			t.Errorf("layer %d has %d frames, the last one %d", i, len(frames), len(c.layers[2]))
		}
		for n, f := range frames {
			if f.keyframe != c.layers[2][n].keyframe {
				t.Errorf("frame %d of layer %d: keyframe %v", n, i, f.keyframe)
			}
		}
		if got := binary.LittleEndian.Uint16(frames[0].data[6:]) & 0x3fff; got != width { // RFC 6386 section 9.1
			t.Errorf("layer %d is %d wide, want %d", i, got, width)
		}
		width *= 2
	}
	if len(c.layers) != 3 {
		t.Errorf("%d layers", len(c.layers))
	}
}

func TestPublishes(t *testing.T) {
	s := newServer(t)
	b := join(t, s, Config{Role: SendOnly, ChannelID: "sora", ClientID: "client"})
	connect := receive(t, s.messages, "connect")
	if connect.Type != "connect" || connect.Role != SendOnly || connect.ChannelID != "sora" ||
		connect.ClientID != "client" {
		t.Errorf("the bot began with %+v", connect)
	}

	// Video on one SSRC, audio on the other; the first packets of both begin a frame.
	video := collect(t, s, 96, 200)
	checkVideo(t, video)

	s.requestKeyframe(video[0].SSRC)
	deadline := time.After(10 * time.Second)
	for b.Published().KeyframeRequests == 0 {
		select {
		case <-s.packets:
		case <-deadline:
			t.Fatal("the bot did not count the PLI")
		}
	}
	before := b.Published()
	for first := false; !first; {
		packet := receive(t, s.packets, "a keyframe after the PLI")
		first = packet.PayloadType == 96 && isKeyframeStart(packet.Payload)
	}
	if after := b.Published(); after.Frames > before.Frames+3 {
		t.Errorf("the keyframe came %d frames after the PLI", after.Frames-before.Frames)
	}

	leave(t, b)
	if goodbye := receive(t, s.messages, "disconnect"); goodbye.Type != "disconnect" || goodbye.Reason != "NO-ERROR" {
		t.Errorf("the bot left with %+v", goodbye)
	}
	if !errors.Is(b.Err(), ErrClosed) {
		t.Errorf("after Leave, Err is %v", b.Err())
	}
}

// collect returns the next n packets of a payload type.
func collect(t *testing.T, s *server, payloadType uint8, n int) []*rtp.Packet {
	t.Helper()
	var all []*rtp.Packet
	for len(all) < n {
		if packet := receive(t, s.packets, "RTP"); packet.PayloadType == payloadType {
			all = append(all, packet)
		}
	}

	return all
}

func checkVideo(t *testing.T, packets []*rtp.Packet) {
	t.Helper()
	if !isKeyframeStart(packets[0].Payload) {
		t.Error("the first video packet does not begin a keyframe")
	}
	for i, packet := range packets {
		if size := packet.MarshalSize(); size > maxPacketBytes {
			t.Errorf("packet %d has %d bytes", i, size)
		}
		if i == 0 {
			continue
		}
		before := packets[i-1]
		if packet.SequenceNumber != before.SequenceNumber+1 {
			t.Errorf("packet %d has number %d after %d", i, packet.SequenceNumber, before.SequenceNumber)
		}
		step := uint32(0)
		if before.Marker {
			step = videoClockRate / 25
		}
		if packet.Timestamp-before.Timestamp != step {
			t.Errorf("packet %d: the timestamp went on by %d, want %d", i, packet.Timestamp-before.Timestamp, step)
		}
	}
}

func TestReceives(t *testing.T) {
	s := newServer(t)
	var mu sync.Mutex
	var observed []uint16
	b := join(t, s, Config{ChannelID: "sora", Observer: func(p Packet) {
		mu.Lock()
		defer mu.Unlock()
		observed = append(observed, p.Header.SequenceNumber)
	}})
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "video", "SENDER")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.connection.AddTransceiverFromTrack(track, sendOnly); err != nil {
		t.Fatal(err)
	}
	socket := receive(t, s.socket, "the socket")
	if answer := receive(t, s.answers, "answer"); answer.Type != "answer" {
		t.Errorf("an offer got %q", answer.Type)
	}
	s.write(t.Context(), socket, map[string]any{"type": "re-offer", "sdp": s.offer()})
	if answer := receive(t, s.answers, "re-answer"); answer.Type != "re-answer" {
		t.Errorf("a re-offer got %q", answer.Type)
	}
	s.write(t.Context(), socket, map[string]any{"type": "ping"})
	for receive(t, s.messages, "pong").Type != "pong" {
	}
	s.write(t.Context(), socket, map[string]any{
		"type": "notify", "event_type": EventStreamPaused,
		"recv_connection_id": "SELF", "send_connection_id": "SENDER", "kinds": []string{"video"},
	})

	// A keyframe of two packets, then one frame of one; the middle packet twice.
	for _, p := range []rtp.Packet{
		{Header: rtp.Header{Version: 2, SequenceNumber: 65534, Timestamp: 1000}, Payload: []byte{0x10, 0x00, 1, 2}},
		{Header: rtp.Header{Version: 2, SequenceNumber: 65535, Timestamp: 1000, Marker: true}, Payload: []byte{0x00, 3, 4}},
		{Header: rtp.Header{Version: 2, SequenceNumber: 0, Timestamp: 4600, Marker: true}, Payload: []byte{0x10, 0x01, 5}},
	} {
		if err := track.WriteRTP(&p); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream := await(ctx, t, func() (Stream, bool) {
		stream, ok := b.Stream("SENDER", Video)

		return stream, ok && stream.Packets == 3 && stream.Paused
	})
	if stream.Frames != 2 || stream.Keyframes != 1 || stream.LastSequenceNumber != 0 || stream.Bytes != 10 {
		t.Errorf("counted %+v", stream)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(observed) != 3 || observed[0] != 65534 {
		t.Errorf("the observer saw %v", observed)
	}
	b.Drop()
}

// isKeyframeStart tells whether a VP8 RTP payload begins a keyframe: S=1 and
// PID=0 in the descriptor (RFC 7741 section 4.2), bit 0 of the frame tag 0
// (RFC 6386 section 9.1).
func isKeyframeStart(payload []byte) bool {
	var descriptor codecs.VP8Packet
	data, err := descriptor.Unmarshal(payload)

	return err == nil && descriptor.S == 1 && descriptor.PID == 0 && isKeyframe(data)
}

// What arrives is counted alike whatever it is coded in.
func TestReceivesEachCodec(t *testing.T) {
	for mimeType, payloads := range map[string][][]byte{
		webrtc.MimeTypeVP8:  {{0x10, 0x00, 1}, {0x10, 0x01, 2}},
		webrtc.MimeTypeVP9:  {{0x0c, 0x00, 1}, {0x4c, 0x00, 2}},
		webrtc.MimeTypeH264: {{0x67, 0x42, 1}, {0x41, 0x9a, 2}},
		webrtc.MimeTypeAV1:  {{0x18, 0x0a, 1}, {0x10, 0x32, 2}},
	} {
		t.Run(mimeType, func(t *testing.T) {
			s := newServer(t)
			b := join(t, s, Config{ChannelID: "sora", Role: RecvOnly})
			defer b.Drop()
			track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mimeType}, "video", "SENDER")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.connection.AddTransceiverFromTrack(track, sendOnly); err != nil {
				t.Fatal(err)
			}
			socket := receive(t, s.socket, "the socket")
			receive(t, s.answers, "answer")
			s.write(t.Context(), socket, map[string]any{"type": "re-offer", "sdp": s.offer()})
			receive(t, s.answers, "re-answer")
			for i, payload := range payloads {
				packet := rtp.Packet{
					Header:  rtp.Header{Version: 2, SequenceNumber: uint16(i), Timestamp: 3000 * uint32(i), Marker: true},
					Payload: payload,
				}
				if err := track.WriteRTP(&packet); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			stream := await(ctx, t, func() (Stream, bool) {
				stream, ok := b.Stream("SENDER", Video)

				return stream, ok && stream.Packets == 2
			})
			if stream.Frames != 2 || stream.Keyframes != 1 {
				t.Errorf("counted %+v", stream)
			}
		})
	}
}

func TestJoinFails(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := Join(ctx, Config{URL: "ws://127.0.0.1:1/signaling", ChannelID: "sora"})
	if err == nil || !strings.Contains(err.Error(), "is the media server running there?") {
		t.Errorf("Join without a server: %v", err)
	}
}

// Leave has nothing to report when Drop comes in between, as when a system's end is
// forced.
func TestLeaveWhileDropped(t *testing.T) {
	for range 10 {
		t.Run("", func(t *testing.T) {
			b := join(t, newServer(t), Config{ChannelID: "sora", ClientID: "client", Role: SendOnly})
			var dropping sync.WaitGroup
			dropping.Go(b.Drop)
			leave(t, b)
			dropping.Wait()
		})
	}
}

// join makes the bot a member as a media server does: connected, then created.
func join(t *testing.T, s *server, config Config) *Bot {
	t.Helper()
	config.URL = s.url()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s.work.Go(func() {
		select {
		case <-s.connected:
		case <-ctx.Done():
			return
		}
		socket := <-s.socket
		// Not within ctx: it ends as soon as the bot has read this, and a write that is
		// not done by then closes the socket.
		s.write(t.Context(), socket,
			map[string]any{"type": "notify", "event_type": EventConnectionCreated, "connection_id": "SELF"})
		s.socket <- socket
	})
	b, err := Join(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	if b.ConnectionID() != "SELF" || b.ClientID() != "client" {
		t.Errorf("the bot takes itself for %q, client %q", b.ConnectionID(), b.ClientID())
	}

	return b
}

func leave(t *testing.T, b *Bot) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	defer cancel()
	if err := b.Leave(ctx); err != nil {
		t.Error(err)
	}
}

// await polls until the condition holds.
func await[T any](ctx context.Context, t *testing.T, condition func() (T, bool)) T {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		value, ok := condition()
		if ok {
			return value
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain; last seen: %+v", value)
		case <-ticker.C:
		}
	}
}
