package bot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	videoClockRate = 90000
	audioClockRate = 48000

	// maxPacketBytes is the size of the biggest RTP packet, header included: what
	// browsers use, so that SRTP and tunnels still fit an Ethernet frame.
	maxPacketBytes = 1200
	rtpHeaderBytes = 12
)

// Published is what a bot has sent.
type Published struct {
	VideoPackets, AudioPackets uint64
	Frames, Keyframes          uint64
	// KeyframeRequests counts the PLIs and FIRs for video that arrived.
	KeyframeRequests uint64
}

// publisher sends the clip over and over from the moment that media can flow.
type publisher struct {
	ctx        context.Context // It ends with what is published.
	connection *webrtc.PeerConnection
	run        func(func()) // on a goroutine that its owner waits for
	log        *slog.Logger

	clip   *clip
	layers []*layer
	audio  *webrtc.TrackLocalStaticRTP
	once   sync.Once
	// identified: the headers are what they stay. It is set before the answer that media flows after.
	identified atomic.Bool
	// levelID is the extension by which the audio says how loud it is; 0: it does not.
	levelID  uint8
	loudness atomic.Uint32 // in dB above silence

	videoPackets, audioPackets          atomic.Uint64
	frames, keyframes, keyframeRequests atomic.Uint64
}

// newPublisher gives the peer connection its two tracks; to be called before the
// first offer is taken, so that pion puts them on the server's uplink m-lines.
func newPublisher(p *peer) (*publisher, error) {
	video := p.bot.config.Video
	if video == nil {
		video = embedded(p.bot.config.Simulcast)
	}
	pub := &publisher{ctx: p.bot.ctx, connection: p.connection, run: p.bot.run, log: p.bot.log}

	return pub, pub.addTracks(video)
}

// addTracks gives the peer connection the tracks of the embedded clip's audio and of IVF files.
func (pub *publisher) addTracks(video [][]byte) (err error) {
	if pub.clip, err = loadClip(video); err != nil {
		return err
	}
	if pub.audio, err = newTrack(webrtc.MimeTypeOpus, "audio"); err != nil {
		return err
	}
	sender, err := pub.addTrack(pub.audio)
	if err != nil {
		return err
	}
	pub.run(func() { pub.readFeedback(nil, sender.ReadRTCP) })

	return pub.addLayers()
}

func newTrack(mimeType, id string, options ...func(*webrtc.TrackLocalStaticRTP)) (*webrtc.TrackLocalStaticRTP, error) {
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mimeType}, id, "nagi-bot", options...)
	if err != nil {
		return nil, fmt.Errorf("make the %s track: %w", id, err)
	}

	return track, nil
}

// sendOnly is how tracks are added that nothing comes back on.
var sendOnly = webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}

func (pub *publisher) addTrack(track *webrtc.TrackLocalStaticRTP) (*webrtc.RTPSender, error) {
	transceiver, err := pub.connection.AddTransceiverFromTrack(track, sendOnly)
	if err != nil {
		return nil, fmt.Errorf("add the %s track: %w", track.ID(), err)
	}

	return transceiver.Sender(), nil
}

// begin starts publishing, at the first call only.
func (pub *publisher) begin() {
	if !pub.identified.Load() {
		return
	}
	pub.once.Do(func() {
		pub.run(func() { pub.publishVideo(pub.ctx) })
		pub.run(func() { pub.publishAudio(pub.ctx) })
	})
}

func (pub *publisher) published() Published {
	return Published{
		VideoPackets: pub.videoPackets.Load(), AudioPackets: pub.audioPackets.Load(),
		Frames: pub.frames.Load(), Keyframes: pub.keyframes.Load(),
		KeyframeRequests: pub.keyframeRequests.Load(),
	}
}

// readFeedback takes keyframe requests for a layer, nil for audio; NACKs are answered
// below, by pion's responder, which needs somebody to read.
func (pub *publisher) readFeedback(l *layer, read func() ([]rtcp.Packet, interceptor.Attributes, error)) {
	for {
		packets, _, err := read()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
			return
		}
		if err != nil {
			if pub.ctx.Err() != nil {
				return
			}
			pub.log.Debug("RTCP not read", "error", err)

			continue
		}
		for _, packet := range packets {
			switch packet.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				if l != nil {
					pub.keyframeRequests.Add(1)
					l.keyframeWanted.Store(true)
				}
			}
		}
	}
}

func (pub *publisher) publishVideo(ctx context.Context) {
	step := uint32(pub.clip.frameDuration * videoClockRate / time.Second)
	spread := pub.clip.frameDuration * 3 / 4
	every(ctx, pub.clip.frameDuration, func() {
		var packets []func()
		for _, l := range pub.layers {
			if l.paused {
				continue
			}
			frame, payloads := l.next()
			for i, payload := range payloads {
				packets = append(packets, func() {
					l.header.Marker = i == len(payloads)-1
					pub.write(l.track, &l.header, payload, &pub.videoPackets)
				})
			}
			pub.frames.Add(1)
			if frame.keyframe {
				pub.keyframes.Add(1)
			}
		}
		pace(ctx, spread, len(packets), func(i int) { packets[i]() })
		for _, l := range pub.layers {
			l.header.Timestamp += step
		}
	})
}

// newHeader has a number and a time by chance, as RFC 3550 section 5.1 wants them. They are no secret.
func newHeader() rtp.Header {
	number, timestamp := rand.UintN(1<<15), rand.Uint32()

	return rtp.Header{Version: 2, SequenceNumber: uint16(number), Timestamp: timestamp} //nolint:gosec // It fits.
}

func (pub *publisher) publishAudio(ctx context.Context) {
	header := newHeader()
	step := uint32(opusFrameDuration * audioClockRate / time.Second)
	index := 0
	every(ctx, opusFrameDuration, func() {
		// RFC 7587 section 4.2: the marker begins a talkspurt.
		header.Marker = pub.audioPackets.Load() == 0
		if pub.levelID != 0 {
			level := []byte{127 - uint8(pub.loudness.Load())} //nolint:gosec // 127 at most.
			if err := header.SetExtension(pub.levelID, level); err != nil {
				pub.log.Debug("audio level not set", "error", err)
			}
		}
		pub.write(pub.audio, &header, pub.clip.audio[index], &pub.audioPackets)
		header.Timestamp += step
		index = (index + 1) % len(pub.clip.audio)
	})
}

// write sends one packet and counts it.
func (pub *publisher) write(
	track *webrtc.TrackLocalStaticRTP, header *rtp.Header, payload []byte, count *atomic.Uint64,
) {
	err := track.WriteRTP(&rtp.Packet{Header: *header, Payload: payload})
	header.SequenceNumber++
	if err != nil {
		pub.log.Debug("packet not sent", "error", err)

		return
	}
	count.Add(1)
}

// pace calls f n times, evenly over a span of time, unless ctx ends. Encoders in
// use hand a frame's packets to a pacer, so that it is normal for a receiver to
// have got half of a frame.
func pace(ctx context.Context, span time.Duration, n int, f func(i int)) {
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range n {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		f(i)
		timer.Reset(time.Until(began.Add(span * time.Duration(i+1) / time.Duration(n))))
	}
}

// every calls f at once and then each interval, by a schedule that does not
// drift, until ctx ends. A process that was held up catches up, unless by more
// than a second: then it goes on from now.
func every(ctx context.Context, interval time.Duration, f func()) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		f()
		due = due.Add(interval)
		if time.Since(due) > time.Second {
			due = time.Now()
		}
		timer.Reset(time.Until(due))
	}
}
