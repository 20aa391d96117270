//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// probe sees what one client receives and is asked for, by the clock of this
// process, and holds what its server knows it by.
type probe struct {
	mu           sync.Mutex
	video, audio []arrival
	requests     []time.Time // Keyframe requests of the server.
	// The first and the highest number of audio, and the packets: all since the
	// client joined.
	audioFirst, audioHighest, audioCount uint64
	connections                          []*webrtc.PeerConnection

	// What the sender sends: some servers put in frames of their own.
	sentVideo, sentAudio *source

	connectionID string // Ours.
	liveKit      *liveKitClient
	videoTracks  []string // LiveKit's ids.
	janus        *janusSubscription
}

// minPayloadBytes is enough for a VP8 keyframe's header and the packet's number.
const minPayloadBytes = 32

// arrival is one packet with a payload.
type arrival struct {
	at       time.Time
	number   uint64 // The sender's, in the payload.
	ssrc     uint32
	sequence uint16
	marker   bool
	keyframe bool // The first packet of one.
}

// The methods that adapters call may be called on nil: forwarding needs no probe.

func (p *probe) named(connectionID string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.connectionID == "" {
		p.connectionID = connectionID // Later offers say the same.
	}
}

func (p *probe) keyframeRequested() {
	if p == nil {
		return
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, now)
}

func (p *probe) holdLiveKit(c *liveKitClient) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.liveKit = c
}

func (p *probe) noteTracks(others []*livekit.ParticipantInfo) {
	if p == nil {
		return
	}
	var tracks []string
	for _, other := range others {
		for _, track := range other.GetTracks() {
			if track.GetType() == livekit.TrackType_VIDEO {
				tracks = append(tracks, track.GetSid())
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.videoTracks) == 0 {
		p.videoTracks = tracks
	}
}

func (p *probe) holdJanus(s *janusSubscription) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.janus = s
}

// watch notes what arrives on a connection.
func (p *probe) watch(connection *webrtc.PeerConnection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connections = append(p.connections, connection)
	connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { p.read(track) })
}

// read returns when the track has ended.
func (p *probe) read(track *webrtc.TrackRemote) {
	buffer := make([]byte, 1500)
	video := track.Kind() == webrtc.RTPCodecTypeVideo
	for {
		n, _, err := track.Read(buffer)
		if err != nil {
			return
		}
		now := time.Now()
		p.arrived(now, video, buffer[:n])
	}
}

func (p *probe) arrived(now time.Time, video bool, data []byte) {
	var packet rtp.Packet
	sent := p.sentAudio
	if video {
		sent = p.sentVideo
	}
	if packet.Unmarshal(data) != nil || len(packet.Payload) < minPayloadBytes || !sent.has(payloadNumber(packet.Payload)) {
		return // Not the sender's: servers probe, and LiveKit ends a track with black frames.
	}
	a := arrival{
		at: now, number: payloadNumber(packet.Payload), ssrc: packet.SSRC,
		sequence: packet.SequenceNumber, marker: packet.Marker,
	}
	if video {
		a.keyframe = beginsKeyframe(packet.Payload)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if video {
		p.video = append(p.video, a)
	} else {
		p.audio = append(p.audio, a)
		p.countAudio(a.number)
	}
}

// countAudio is called with mu held.
func (p *probe) countAudio(number uint64) {
	if p.audioCount == 0 {
		p.audioFirst = number
	}
	p.audioHighest = max(p.audioHighest, number)
	p.audioCount++
}

// audioMissing is how many packets of audio have not come of those sent between
// the first and the last that came.
func (p *probe) audioMissing() int {
	p.mu.Lock()
	defer p.mu.Unlock()

	return int(p.audioHighest+1-p.audioFirst) - int(p.audioCount) //nolint:gosec // Small.
}

// has tells whether a packet of that number has been sent.
func (s *source) has(number uint64) bool {
	return number >= 1 && number <= s.sent.Load()
}

// beginsKeyframe tells whether a VP8 payload is the start of a keyframe (RFC
// 7741, 4.2; RFC 6386, 9.1).
func beginsKeyframe(payload []byte) bool {
	var frame codecs.VP8Packet
	data, err := frame.Unmarshal(payload)

	return err == nil && frame.S == 1 && frame.PID == 0 && len(data) > 0 && data[0]&1 == 0
}

// begin forgets all but the last packet of each kind, so that a long run does not
// fill the memory.
func (p *probe) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.video, p.audio, p.requests = keepLast(p.video), keepLast(p.audio), keepLast(p.requests)
}

func keepLast[T any](all []T) []T {
	return append([]T(nil), all[max(0, len(all)-1):]...)
}

// received is all that has arrived since begin; it is only ever appended to.
func (p *probe) received() (video, audio []arrival) {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.video, p.audio
}

// requestedSince is the first keyframe request not before a time; false while
// there is none.
func (p *probe) requestedSince(since time.Time) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.requests {
		if !at.Before(since) {
			return at, true
		}
	}

	return time.Time{}, false
}

func (p *probe) lastRequest() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.requests) == 0 {
		return time.Time{}
	}

	return p.requests[len(p.requests)-1]
}

func (p *probe) close() {
	p.mu.Lock()
	connections := p.connections
	p.mu.Unlock()
	for _, connection := range connections {
		_ = bot.ClosePeer(connection) // The server goes next.
	}
}

// await polls: every 5 ms is often enough for what is timed by arrivals.
func await(ctx context.Context, limit time.Duration, what string, condition func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}

	return nil
}
