//go:build linux

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	voiceFPS          = 50
	voicePayloadBytes = 80
	videoBitsASecond  = 1_000_000
	// joinLimit bounds joining until all media flows.
	joinLimit = 30 * time.Second
)

// rig is one sender of video and audio and two receivers, all in this process and
// hence on one clock. What the receiver gets is paused, the reference shows that
// the stream goes on.
type rig struct {
	sender, receiver, reference *probe
	sending                     errgroup.Group
	end                         context.CancelFunc
	missing                     int // Packets of audio, as of the last round.
}

// pausedName is what the receiver is called at servers.
const pausedName = "receiver-0"

// stream is what the sender's video looks like.
type stream struct{ fps, packets int }

func (s stream) payloadBytes() int { return videoBitsASecond / 8 / s.fps / s.packets }

// joinRig lets the clients join a server by its protocol and returns once all
// media flows.
func joinRig(ctx context.Context, protocol, address string, s stream) (*rig, error) {
	lifetime, end := context.WithCancel(context.WithoutCancel(ctx))
	r := &rig{sender: &probe{}, receiver: &probe{}, reference: &probe{}, end: end}
	if err := r.join(ctx, lifetime, protocol, address, s); err != nil {
		r.stop()

		return nil, err
	}

	return r, nil
}

func (r *rig) join(ctx, lifetime context.Context, protocol, address string, s stream) error {
	ctx, cancel := context.WithTimeoutCause(ctx, joinLimit, fmt.Errorf("not within %s", joinLimit))
	defer cancel()
	join, err := joiner(protocol)
	if err != nil {
		return err
	}
	config := loadConfig{
		Protocol: protocol, Address: address, Frame: equal(s.packets, s.payloadBytes()), FPS: s.fps, Voice: true,
	}
	video := newSource(config)
	video.quiet = true
	voice := newSource(loadConfig{Frame: equal(1, voicePayloadBytes), FPS: voiceFPS, Audio: true})
	all := participant{loadConfig: config, lifetime: lifetime, keyframes: &atomic.Uint64{}, profiles: &profiles{}}

	sender := all
	sender.source, sender.voice, sender.probe = video, voice, r.sender
	if err := join(ctx, sender); err != nil {
		return fmt.Errorf("the sender joins: %w", err)
	}
	// Some servers announce a track with its first packet only.
	r.sending.Go(func() error { return video.run(lifetime, 0) })
	r.sending.Go(func() error { return voice.run(lifetime, 0) })
	for i, p := range r.receivers() {
		p.sentVideo, p.sentAudio = video, voice
		receiver := all
		receiver.index, receiver.received, receiver.feeds, receiver.probe = i, &counter{}, []int{0}, p
		if err := join(ctx, receiver); err != nil {
			return fmt.Errorf("receiver %d joins: %w", i, err)
		}
	}
	for i, p := range r.receivers() {
		err := await(ctx, joinLimit, fmt.Sprintf("video and audio at receiver %d", i), func() bool {
			video, audio := p.received()

			return len(video) > s.fps*s.packets/2 && len(audio) > voiceFPS/2
		})
		if err != nil {
			return err
		}
	}

	return nil
}

func (r *rig) receivers() []*probe { return []*probe{r.receiver, r.reference} }

// stop ends the clients and waits for the senders.
func (r *rig) stop() {
	r.end()
	_ = r.sending.Wait() // A failed write shows as a missing packet.
	r.sender.close()
	for _, p := range r.receivers() {
		p.close()
	}
}

func joiner(protocol string) (func(context.Context, participant) error, error) {
	switch protocol {
	case "sora":
		return joinSora, nil
	case "livekit":
		return joinLiveKit, nil
	case "janus":
		return joinJanus, nil
	}

	return nil, fmt.Errorf("no client speaks %q", protocol)
}
