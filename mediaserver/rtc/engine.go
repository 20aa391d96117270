// Package rtc is the peer connections: SDP, ICE and DTLS-SRTP. It hands the RTP of clients up and takes RTP for them down.
//
// A Peer is one client's connection, both ways. Its uplinks are the m-lines on which the client sends, its downlinks those
// on which it receives. What is forwarded to whom is decided elsewhere.
//
// A packet meets no goroutine but its socket's reader on its way through: that one tells STUN, DTLS and SRTP apart
// (demux.go), opens SRTP in place (inbound.go) and hands a burst to the uplink's receiver, which writes to downlinks, which
// seal into the reader's batch (downlink.go).
package rtc

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/mediaserver/udp"
)

// Config is what an engine needs.
type Config struct {
	// Socket carries the media of all peers. The engine serves and closes it.
	Socket *udp.Socket
	// PublicAddresses are announced in candidates instead of the addresses the socket listens on: what clients reach when a
	// NAT or a load balancer stands before the server. Port 0 stands for the socket's.
	PublicAddresses []netip.AddrPort
	// SilenceTimeout is how long a client may send nothing at all, not even ICE's consent checks (RFC 7675), before it counts
	// as gone: 30 s if zero.
	SilenceTimeout time.Duration
	Log            *slog.Logger
	// Registerer takes the package's metrics; nil: they are not exported.
	Registerer prometheus.Registerer
}

const defaultSilenceTimeout = 30 * time.Second

// Engine makes peers that share one socket and one DTLS certificate.
type Engine struct {
	socket      *udp.Socket
	announced   []netip.AddrPort
	identity    identity
	silence     time.Duration
	log         *slog.Logger
	counters    counters
	demuxers    []demuxer // one for each worker
	next        atomic.Uint32
	paths       paths
	running     sync.WaitGroup
	watchClosed chan struct{}

	mu     sync.Mutex
	closed bool
	peers  map[*Peer]struct{}
}

// New starts serving peers on the socket.
func New(config Config) (*Engine, error) {
	announced, err := candidateAddresses(config.Socket.Addr(), config.PublicAddresses)
	if err != nil {
		return nil, err
	}
	identity, err := newIdentity()
	if err != nil {
		return nil, fmt.Errorf("make the DTLS certificate: %w", err)
	}
	log := config.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}

	engine := &Engine{
		socket: config.Socket, announced: announced, identity: identity, log: log,
		silence:     cmp.Or(config.SilenceTimeout, defaultSilenceTimeout),
		demuxers:    make([]demuxer, config.Socket.Workers()),
		paths:       newPaths(),
		watchClosed: make(chan struct{}),
		peers:       make(map[*Peer]struct{}),
	}
	for i := range engine.demuxers {
		engine.demuxers[i].engine = engine
	}
	if config.Registerer != nil {
		engine.register(config.Registerer)
	}
	engine.running.Go(func() {
		config.Socket.Serve(func(batch *udp.Batch, burst []udp.Datagram) { engine.demuxers[batch.Worker()].receive(batch, burst) })
	})
	engine.running.Go(engine.watchSilence)

	return engine, nil
}

// Socket is the one that carries the media of all peers.
func (e *Engine) Socket() *udp.Socket { return e.socket }

// Close closes the peers that are left, and the socket.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()

		return nil
	}
	e.closed = true
	peers := e.list()
	e.mu.Unlock()

	var errs []error
	for _, peer := range peers {
		errs = append(errs, peer.Close())
	}
	close(e.watchClosed)
	errs = append(errs, e.socket.Close())
	e.running.Wait()

	return errors.Join(errs...)
}

// list is the peers there are now. Call with mu held.
func (e *Engine) list() []*Peer {
	peers := make([]*Peer, 0, len(e.peers))
	for peer := range e.peers {
		peers = append(peers, peer)
	}

	return peers
}

func (e *Engine) adopt(peer *Peer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	e.peers[peer] = struct{}{}
	e.paths.expect(peer)

	return nil
}

func (e *Engine) forget(peer *Peer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.peers, peer)
	e.paths.forget(peer)
}

// watchSilence ends the peers that have not been heard for too long.
func (e *Engine) watchSilence() {
	ticker := time.NewTicker(max(e.silence/16, 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-e.watchClosed:
			return
		case <-ticker.C:
		}
		e.mu.Lock()
		peers := e.list()
		e.mu.Unlock()
		now := time.Now()
		for _, peer := range peers {
			if heard := peer.heard.Load(); heard != 0 && now.UnixNano()-heard > int64(e.silence) {
				peer.fail(ErrICEFailed)
			}
		}
	}
}
