package rtc

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// PeerConfig describes one client's connection. Its functions run on a goroutine of the peer, one at a time, except that
// OnNegotiationNeeded runs within AddDownlink and Remove. They must not block, and must not call Close, which waits for them.
type PeerConfig struct {
	// Audio and Video are the uplinks; nil: the client is offered no m-line to send that kind on.
	Audio, Video *Uplink
	// OnConnected is called once, when ICE and DTLS are up.
	OnConnected func()
	// OnClosed is called at most once, with ErrICEFailed, ErrClosedByClient or ErrTooManyStreams, and not on account of Close.
	OnClosed func(err error)
	// OnNegotiationNeeded is called whenever an offer would differ from the one made last; not before the first.
	OnNegotiationNeeded func()
}

// Peer is one client's connection. Its methods may be called from any goroutine.
type Peer struct {
	engine *Engine
	config PeerConfig
	api    *webrtc.API
	pc     *webrtc.PeerConnection
	log    *slog.Logger
	ssrc   uint32 // of our RTCP feedback

	incoming       *streams
	stateChanged   chan struct{}
	keyframeWanted chan struct{}

	closing chan struct{} // closed when Close begins
	closed  chan struct{} // closed when Close is done
	running sync.WaitGroup
	alive   sync.Mutex // guards the start of goroutines against the beginning of Close
	sends   atomic.Pointer[[]forwardingv1.Kind]

	audio, video *uplink

	negotiation sync.Mutex // guards what follows
	offer       *sdp.SessionDescription
	offered     bool // a first offer was made
	outstanding bool // the last offer waits for its answer
	answered    bool // some offer was answered
	lines       []*line
	candidates  []webrtc.ICECandidateInit // that came before the first answer
	candidateN  int
}

// NewPeer makes a peer. It sends nothing before Offer and Answer.
func (e *Engine) NewPeer(config PeerConfig) (*Peer, error) {
	incoming := newStreams()
	api := e.newAPI(incoming)
	pc, err := api.NewPeerConnection(webrtc.Configuration{
		Certificates:              []webrtc.Certificate{e.certificate},
		BundlePolicy:              webrtc.BundlePolicyMaxBundle,
		RTPHeaderEncryptionPolicy: webrtc.RTPHeaderEncryptionPolicyDisable,
	})
	if err != nil {
		return nil, fmt.Errorf("make a peer connection: %w", err)
	}
	peer := &Peer{
		engine: e, config: config, api: api, pc: pc, log: e.log,
		ssrc:           rand.Uint32()>>1 + 1,
		incoming:       incoming,
		stateChanged:   make(chan struct{}, 1),
		keyframeWanted: make(chan struct{}, 1),
		closing:        make(chan struct{}),
		closed:         make(chan struct{}),
	}
	// The client binds its tracks to the first m-lines that fit, so the uplinks come before any downlink.
	if peer.audio, err = peer.newUplink(webrtc.RTPCodecTypeAudio, config.Audio); err == nil {
		peer.video, err = peer.newUplink(webrtc.RTPCodecTypeVideo, config.Video)
	}
	if err == nil {
		err = e.adopt(peer)
	}
	if err != nil {
		return nil, errors.Join(err, pc.GracefulClose())
	}
	pc.OnTrack(peer.receive)
	pc.OnConnectionStateChange(func(webrtc.PeerConnectionState) { signal(peer.stateChanged) })
	peer.start(peer.run)

	return peer, nil
}

func (e *Engine) adopt(peer *Peer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	e.peers[peer] = struct{}{}

	return nil
}

// Close ends the connection and waits for all that belongs to it; nothing of the configuration is called any more after it.
func (p *Peer) Close() error {
	p.alive.Lock()
	if p.isClosing() {
		p.alive.Unlock()
		<-p.closed

		return nil
	}
	close(p.closing)
	p.alive.Unlock()

	err := p.pc.GracefulClose()
	p.running.Wait()
	p.engine.mu.Lock()
	delete(p.engine.peers, p)
	p.engine.mu.Unlock()
	close(p.closed)

	return err
}

// RequestKeyframe asks the client for a keyframe of its video (PLI, RFC 4585 section 6.3.1). It never blocks; requests
// that come faster than they can be sent become one.
func (p *Peer) RequestKeyframe() { signal(p.keyframeWanted) }

func (p *Peer) isClosing() bool {
	select {
	case <-p.closing:
		return true
	default:
		return false
	}
}

// start runs a goroutine that Close waits for; false when it is too late for one.
func (p *Peer) start(run func()) bool {
	if !p.enter() {
		return false
	}
	go func() {
		defer p.running.Done()
		run()
	}()

	return true
}

// enter counts the calling goroutine, one of Pion's, among those that Close waits for.
func (p *Peer) enter() bool {
	p.alive.Lock()
	defer p.alive.Unlock()
	if p.isClosing() {
		return false
	}
	p.running.Add(1)

	return true
}

func (p *Peer) negotiationNeeded(needed bool) {
	if needed && p.config.OnNegotiationNeeded != nil {
		p.config.OnNegotiationNeeded()
	}
}

// signal tells the reader of a channel of capacity one that there is something to look at.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

func rtcKind(kind forwardingv1.Kind) (webrtc.RTPCodecType, error) {
	switch kind {
	case forwardingv1.Kind_KIND_AUDIO:
		return webrtc.RTPCodecTypeAudio, nil
	case forwardingv1.Kind_KIND_VIDEO:
		return webrtc.RTPCodecTypeVideo, nil
	default:
		return 0, fmt.Errorf("kind %v cannot be sent; use audio or video", kind)
	}
}
