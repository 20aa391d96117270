// Package rtc is the peer connections: SDP, ICE and DTLS-SRTP. It hands the RTP of clients up and takes RTP for them
// down.
//
// A Peer is one client's connection, both ways. Its uplinks are the m-lines on which the client sends, its downlinks
// those on which it receives. What is forwarded to whom is decided elsewhere.
//
// A packet meets no goroutine but its socket's reader on its way through: that one tells STUN, DTLS and SRTP apart
// (demux.go), opens SRTP in place (inbound.go) and hands a burst to the uplink's receiver, which writes to downlinks,
// which seal into the reader's batch (downlink.go).
package rtc

import (
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
	// PublicAddresses are announced in candidates instead of the addresses the socket listens on: what clients reach
	// when a NAT or a load balancer stands before the server. Port 0 stands for the socket's.
	PublicAddresses []netip.AddrPort
	// SilenceTimeout is how long a client may send nothing at all, not even ICE's consent checks (RFC 7675), before it
	// counts as gone: 30 s if zero.
	SilenceTimeout time.Duration
	// MediaTimeout is for how long media may go to a client without SRTP or SRTCP from it before it counts as gone:
	// 10 s if zero.
	MediaTimeout time.Duration
	Log          *slog.Logger
	// Registerer takes the package's metrics; nil: they are not exported.
	Registerer prometheus.Registerer
}

// Engine makes peers that share one socket and one DTLS certificate.
type Engine struct {
	socket      *udp.Socket
	announced   []netip.AddrPort
	identity    identity
	log         *slog.Logger
	counters    counters
	demuxers    []demuxer // one for each worker
	next        atomic.Uint32
	paths       paths
	running     sync.WaitGroup
	watchClosed chan struct{}

	began                        time.Time // what moments are measured from
	silenceTimeout, mediaTimeout time.Duration

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
		began:       time.Now(),
		demuxers:    make([]demuxer, config.Socket.Workers()),
		paths:       newPaths(),
		watchClosed: make(chan struct{}),
		peers:       make(map[*Peer]struct{}),
	}
	engine.silenceTimeout, engine.mediaTimeout = config.timeouts()
	for i := range engine.demuxers {
		engine.demuxers[i].engine = engine
	}
	if config.Registerer != nil {
		engine.register(config.Registerer)
	}
	engine.running.Go(func() {
		config.Socket.Serve(func(batch *udp.Batch, burst []udp.Datagram) {
			engine.demuxers[batch.Worker()].receive(batch,
				burst)
		})
	})
	engine.running.Go(engine.watch)

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
