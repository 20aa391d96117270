//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
)

// keyframeEvery is how many frames lie between two keyframes that nobody asked
// for.
const keyframeEvery = 100

// source makes the frames of one sender: bursts of packets that servers read as
// VP8 or Opus, though no decoder would.
type source struct {
	sizes []int
	fps   int
	audio bool
	// quiet: no keyframes but the first and those asked for.
	quiet bool

	write          func(*rtp.Packet) error // Set on joining.
	sent           atomic.Uint64
	keyframeWanted atomic.Bool

	header  rtp.Header
	frame   uint16
	payload []byte
}

func newSource(config loadConfig) *source {
	s := &source{sizes: config.Frame, fps: config.FPS, audio: config.Audio, payload: make([]byte, 1500)}
	s.header = rtp.Header{Version: 2, SequenceNumber: 1000, Timestamp: 90000, PayloadType: 96}
	if s.audio {
		s.header.PayloadType = 111
	}

	return s
}

// run sends a frame at each tick until the context ends, always whole ones.
func (s *source) run(ctx context.Context, delay time.Duration) error {
	if sleep(ctx, delay) != nil {
		return nil
	}
	tick := time.NewTicker(time.Second / time.Duration(s.fps))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.sendFrame(); err != nil {
				return err
			}
		}
	}
}

func (s *source) sendFrame() error {
	clock := uint32(90000)
	if s.audio {
		clock = 48000
	}
	s.header.Timestamp += clock / uint32(s.fps) //nolint:gosec // A small number.
	keyframe := s.keyframeWanted.Swap(false) || s.sent.Load() == 0 || !s.quiet && s.frame%keyframeEvery == 0
	for i, size := range s.sizes {
		payload := s.payload[:size]
		if s.audio {
			payload[0] = 0x78 // Opus: one 20 ms frame.
			s.header.Marker = false
		} else {
			describeVP8(payload, s.frame, i == 0, keyframe)
			s.header.Marker = i == len(s.sizes)-1
		}
		stampSendTime(payload)
		numberPayload(payload, s.sent.Add(1))
		if err := s.write(&rtp.Packet{Header: s.header, Payload: payload}); err != nil {
			return err
		}
		s.header.SequenceNumber++
	}
	s.frame++

	return nil
}

// numberPayload lets a packet be known again at receivers, whatever servers do to
// its header; the number is in the last eight bytes.
func numberPayload(payload []byte, number uint64) {
	binary.BigEndian.PutUint64(payload[len(payload)-8:], number)
}

// payloadNumber is what numberPayload wrote.
func payloadNumber(payload []byte) uint64 {
	return binary.BigEndian.Uint64(payload[len(payload)-8:])
}

// describeVP8 writes the payload descriptor with a 15-bit picture id (RFC 7741,
// 4.2) and, in a frame's first packet, the VP8 frame header (RFC 6386, 9.1).
func describeVP8(payload []byte, frame uint16, first, keyframe bool) {
	payload[0] = 0x80 // X.
	if first {
		payload[0] |= 0x10 // S.
	}
	payload[1] = 0x80 // I.
	payload[2] = 0x80 | byte(frame>>8)&0x7f
	payload[3] = byte(frame)
	if !first {
		return
	}
	payload[4] = 0x11 // Shown, version 0, an inter frame.
	if keyframe {
		payload[4] = 0x10
		copy(payload[7:], []byte{0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02}) // 1280 × 720.
	}
}
