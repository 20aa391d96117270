package rtc

import (
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/stun/v4"

	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// PeerConfig describes one client's connection. Its functions run on a goroutine of the peer, one at a time, except
// that OnNegotiationNeeded runs within AddDownlink and Remove. They must not block, and must not call Close, which
// waits for them.
type PeerConfig struct {
	// Audio and Video are the uplinks; nil: the client is offered no m-line to send that kind on.
	Audio, Video *Uplink
	// Opus is what the client wants of the audio that it sends and is sent.
	Opus codecs.OpusParameters
	// Reports hears what the client says of all that it is sent; nil: nobody does.
	Reports Reports
	// OnConnected is called once, when ICE and DTLS are up.
	OnConnected func()
	// OnClosed is called at most once, with ErrICEFailed, ErrMediaUnanswered, ErrUnreadableMedia or ErrClosedByClient,
	// and not on account of Close.
	OnClosed func(err error)
	// OnNegotiationNeeded is called when an offer would differ from the one made last, once until the next is made; not
	// before the first.
	OnNegotiationNeeded func()
}

// Peer is one client's connection. Its methods may be called from any goroutine.
type Peer struct {
	engine *Engine
	config PeerConfig
	log    *slog.Logger
	worker int
	ssrc   uint32 // of our RTCP feedback

	ufrag, password string
	integrity       stun.MessageIntegrity
	paths           []udp.Path                      // guarded by the engine's paths
	remote          atomic.Pointer[credentials]     // the client's; nil before its answer
	selected        atomic.Pointer[udp.Destination] // the path that the client chose last, and has proved
	checked         atomic.Int64                    // when that path was checked last, since the engine's start
	reachable       chan struct{}                   // closed when there is a path
	move            move
	measurements    measurements
	liveness        liveness
	wire            *wire
	keys            atomic.Pointer[keys]

	audio, video *uplink
	inbound      inbound
	congestion   congestion
	playout      playout
	reports      reports

	connected      chan struct{} // capacity 1, as the next five
	failed         chan error
	moving         chan struct{}
	keyframeWanted chan struct{}
	keyframesOf    atomic.Uint32 // media.Layers that keyframes are wanted of
	gap            chan struct{}
	feedbackWanted chan struct{}

	closing chan struct{} // closed when Close begins
	closed  chan struct{} // closed when Close is done
	running sync.WaitGroup
	alive   sync.Mutex // guards the start of goroutines against the beginning of Close
	sends   atomic.Pointer[[]media.Kind]

	downlinks     sync.RWMutex
	bySSRC        map[uint32]*Downlink
	longestAnswer atomic.Int64 // to the last offer, in bytes
	negotiation   sync.Mutex   // guards what follows
	sessionID     uint64
	version       uint64
	ssrcs         map[uint32]struct{} // given out
	offered       bool                // a first offer was made
	different     bool                // OnNegotiationNeeded was told that the next offer will differ from the last
	outstanding   bool                // the last offer waits for its answer
	answered      bool                // some offer was answered
	lines         []*line
	formats       formats
	refused       []*Downlink // see Refused
	again         []*Downlink // see ReceivedAgain
	// offeredSections is how many m-lines the last offer has; lines that were made since stand behind those.
	offeredSections int
}

// NewPeer makes a peer. It sends nothing before Offer and Answer.
func (e *Engine) NewPeer(config PeerConfig) (*Peer, error) {
	peer := &Peer{
		engine: e, config: config, log: e.log,
		worker:         int(e.next.Add(1)-1) % e.socket.Workers(),
		ssrc:           rand.Uint32()>>1 + 1,
		sessionID:      rand.Uint64() >> 1, // RFC 8829 section 5.2.1: below 1<<63
		ssrcs:          make(map[uint32]struct{}),
		bySSRC:         make(map[uint32]*Downlink),
		connected:      make(chan struct{}, 1),
		failed:         make(chan error, 1),
		moving:         make(chan struct{}, 1),
		keyframeWanted: make(chan struct{}, 1),
		gap:            make(chan struct{}, 1),
		feedbackWanted: make(chan struct{}, 1),
		reachable:      make(chan struct{}),
		closing:        make(chan struct{}),
		closed:         make(chan struct{}),
	}
	peer.ufrag, peer.password = newCredentials()
	peer.integrity = stun.NewShortTermIntegrity(peer.password)
	peer.inbound.authenticated = make(map[uint32]struct{})
	peer.inbound.reporters = make(map[uint32]struct{})
	peer.wire = newWire(e.socket, &peer.selected)
	// The client binds its tracks to the first m-lines that fit, so the uplinks come before any downlink.
	mid := 0
	for _, u := range []struct {
		at     **uplink
		config *Uplink
	}{
		{&peer.audio, config.Audio},
		{&peer.video, config.Video},
	} {
		if u.config != nil {
			*u.at = newUplink(*u.config, strconv.Itoa(mid))
			peer.formats.offer(u.config.Format) // The first has room.
			mid++
		}
	}
	if err := e.adopt(peer); err != nil {
		return nil, err
	}
	peer.start(peer.loop)

	return peer, nil
}

// Close ends the connection and waits for all that belongs to it; nothing of the configuration is called any more
// after it, but for packets that a reader of the socket is handing on at this moment.
func (p *Peer) Close() error {
	p.alive.Lock()
	if p.isClosing() {
		p.alive.Unlock()
		<-p.closed

		return nil
	}
	close(p.closing)
	p.alive.Unlock()

	p.running.Wait()
	p.engine.forget(p)
	err := p.wire.Close()
	p.engine.socket.Quiesce() // Readers that found the peer before it was forgotten.
	close(p.closed)

	return err
}

// RequestKeyframe asks the client for a keyframe of each of the layers of its video (PLI, RFC 4585 section 6.3.1). It
// never blocks; requests that come faster than they can be sent become one.
func (p *Peer) RequestKeyframe(layers media.Layers) {
	p.keyframesOf.Or(uint32(layers))
	signal(p.keyframeWanted)
}

// secureWith begins the handshake; the client must be heard from now on. It is called with the negotiation locked.
func (p *Peer) secureWith(remote answer) {
	p.remote.Store(&credentials{ufrag: remote.ufrag, integrity: stun.NewShortTermIntegrity(remote.password)})
	p.liveness.hear(p.engine.since(time.Now()))
	p.start(func() { p.secure(remote) })
}

// unlock lets media pass both ways with the keys that DTLS has agreed on.
func (p *Peer) unlock(conn *dtls.Conn, client bool) error {
	k, err := newKeys(conn, client)
	if err != nil {
		return err
	}
	opening, err := k.opening()
	if err != nil {
		return err
	}
	sealing, err := k.sealing()
	if err != nil {
		return err
	}
	p.inbound.mu.Lock()
	p.inbound.context = opening
	p.inbound.mu.Unlock()
	p.reports.mu.Lock()
	p.reports.context = sealing
	p.reports.mu.Unlock()
	p.keys.Store(k)
	signal(p.connected)

	p.downlinks.RLock()
	downlinks := make([]*Downlink, 0, len(p.bySSRC))
	for _, d := range p.bySSRC {
		downlinks = append(downlinks, d)
	}
	p.downlinks.RUnlock()
	for _, d := range downlinks {
		d.bind()
	}

	return nil
}

// fail has OnClosed called, with the first of the reasons there are.
func (p *Peer) fail(reason error) {
	select {
	case p.failed <- reason:
	default:
	}
}

// newSSRC is one that the peer has not had yet: what is late of an earlier stream must not be taken for a later one's.
func (p *Peer) newSSRC() uint32 {
	for {
		ssrc := rand.Uint32()
		if _, taken := p.ssrcs[ssrc]; !taken && ssrc != 0 && ssrc != p.ssrc {
			p.ssrcs[ssrc] = struct{}{}

			return ssrc
		}
	}
}

func (p *Peer) feedbackTo(d *Downlink) {
	p.downlinks.Lock()
	defer p.downlinks.Unlock()
	p.bySSRC[d.ssrc] = d
}

func (p *Peer) noFeedbackTo(d *Downlink) {
	p.downlinks.Lock()
	defer p.downlinks.Unlock()
	delete(p.bySSRC, d.ssrc)
}

// feedbackOf is who hears of feedback about an SSRC, nil: nobody.
func (p *Peer) feedbackOf(ssrc uint32) Feedback {
	p.downlinks.RLock()
	d := p.bySSRC[ssrc]
	p.downlinks.RUnlock()
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.bound {
		return nil
	}

	return d.feedback
}

func (p *Peer) isClosing() bool {
	select {
	case <-p.closing:
		return true
	default:
		return false
	}
}

// start runs a goroutine that Close waits for, unless it is too late for one.
func (p *Peer) start(run func()) {
	p.alive.Lock()
	defer p.alive.Unlock()
	if !p.isClosing() {
		p.running.Go(run)
	}
}

// differs notes that an offer would differ from the one made last, and tells whether OnNegotiationNeeded has yet to be
// called for that. It is called with the negotiation locked, OnNegotiationNeeded without.
func (p *Peer) differs() bool {
	needed := p.offered && !p.different
	p.different = p.offered

	return needed
}

func (p *Peer) negotiationNeeded(needed bool) {
	if needed && p.config.OnNegotiationNeeded != nil {
		p.config.OnNegotiationNeeded()
	}
}

// signal tells whoever reads from a buffer for one that there is something to look at.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}
