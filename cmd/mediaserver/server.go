package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/auth"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
	"github.com/nagi-rtc/nagi/mediaserver/peers"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

const (
	// leaveTimeout bounds how long clients may take to answer the closing.
	leaveTimeout = 5 * time.Second
	// drainTimeout bounds the telling of the managers that they left.
	drainTimeout = time.Second
	// drainInterval is the time between two looks at what is left.
	drainInterval = 100 * time.Millisecond
	// handOverWithin is how long channels are handed over one after another, and
	// handOverAtOnce bounds the handing over of those that are left then.
	handOverWithin, handOverAtOnce = 20 * time.Second, 15 * time.Second
)

// server is the parts of the SFU and the order in which they end.
type server struct {
	engine     *rtc.Engine
	registry   *channel.Registry
	subscriber *tables.Subscriber
	peers      *peers.Peers
	signaling  *signaling.Server
	log        *slog.Logger

	// drainTimeout is how long what is here goes on once the end is asked for, and drainAtLeast
	// how long new clients are served within it though nothing is here.
	drainTimeout, drainAtLeast time.Duration
	draining                   atomic.Bool
}

// newServer puts the parts together. Peers reach the media server at peerAddress.
func newServer(
	o options, engine *rtc.Engine, authority auth.Authority, ice *signaling.ICEConfig, peerAddress string,
	registerer prometheus.Registerer, log *slog.Logger,
) *server {
	s := &server{engine: engine, drainTimeout: o.peers.drainTimeout, drainAtLeast: o.peers.drainAtLeast, log: log}
	s.registry = channel.New(channel.Config{
		Engine: engine,
		// Nothing changes before the first client, and none comes before the
		// subscriber is there.
		Changed:      func(channelID string) { s.subscriber.Changed(channelID) },
		TableWait:    o.tableWait,
		WithoutTable: o.withoutTable,
		MaxChannels:  o.maxChannels,
		MaxMembers:   o.maxChannelConnections,
		Log:          log,
		Registerer:   registerer,
	})
	withoutClaim := peers.WithoutClaim(o.peers.withoutClaim)
	s.peers = peers.New(peers.Config{
		Namespace: o.namespace,
		Name:      o.name,
		// Nobody asks before the subscriber is there.
		Placements:   func() []forwardingv1.PlacementClient { return s.subscriber.Placements() },
		WithoutClaim: withoutClaim,
		Log:          log,
		Registerer:   registerer,
	})
	s.subscriber = tables.New(tables.Config{
		Namespace:   o.namespace,
		Name:        o.name,
		Incarnation: rand.Text(),
		Managers:    o.managers,
		DialOptions: o.credentials.Options(),
		Token:       o.credentials.Token,
		Standing: &forwardingv1.Hello{
			PeerAddress: peerAddress, SignalingUrl: o.peers.signalingURL, ServesWithoutClaim: withoutClaim == peers.Serve,
			MaxChannels: uint64(o.maxChannels), MaxConnections: uint64(o.maxSockets),
		},
		Peers:      s.peers,
		Log:        log,
		Registerer: registerer,
	}, s.registry)
	s.signaling = signaling.NewServer(signaling.Config{
		Channels:              s.registry,
		Authority:             authority,
		ICE:                   ice,
		Peers:                 s.peers,
		MaxSockets:            o.maxSockets,
		MaxSocketsPerAddress:  o.maxSocketsPerAddress,
		MaxConnectsPerAddress: o.maxConnectsPerAddress,
		Log:                   log,
		Registerer:            registerer,
	})

	return s
}

// ready is the readiness probe.
func (s *server) ready() error {
	if s.draining.Load() {
		return fmt.Errorf("the media server drains: it takes no new channels, hosts %d and passes %d clients on",
			s.peers.Hosted(), s.signaling.Passed())
	}
	if err := s.subscriber.Ready(); err != nil {
		return fmt.Errorf(
			"no manager has given a complete answer yet, which is a table for every channel hosted, and its version: %w", err,
		)
	}

	return nil
}

// run subscribes to the managers until ctx ends, then drains, at most until giveUp ends, and
// then ends everything in the order in which it depends on each other: the channels are
// handed over, the clients are told (1001 SHUTDOWN) and leave, the managers learn that they
// left (they would take silence for a lost media server, and wait 10 minutes), then the
// streams and the media end.
func (s *server) run(ctx, giveUp context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	subscribed := make(chan error, 1)
	go func() { subscribed <- s.subscriber.Run(background) }()
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		s.peers.Run(background)
	}()

	var failed error
	select {
	case <-ctx.Done():
	case failed = <-subscribed:
		subscribed <- nil
	}
	if failed == nil {
		s.drain(giveUp)
	}
	err := s.end(context.WithoutCancel(ctx), stop, subscribed)
	<-renewed

	return errors.Join(failed, err)
}

// drain takes no new channels, lets those that are here go on until they are empty or their
// time is over, and hands over what is left then. Clients who are sent here still are passed
// on meanwhile: it takes a Service some seconds to leave out who is not ready.
func (s *server) drain(giveUp context.Context) {
	s.draining.Store(true)
	s.peers.Drain()
	s.subscriber.Retire()
	s.log.Info("draining", "channels", s.peers.Hosted(), "passed", s.signaling.Passed(), "timeout", s.drainTimeout)
	staying, cancel := context.WithTimeout(giveUp, s.drainTimeout)
	defer cancel()
	look := time.NewTicker(drainInterval)
	defer look.Stop()
	began := time.Now()
	for staying.Err() == nil &&
		(time.Since(began) < s.drainAtLeast || s.peers.Hosted()+s.signaling.Passed() > 0) {
		select {
		case <-staying.Done():
		case <-look.C:
		}
	}
	if s.peers.Hosted() == 0 {
		return
	}
	telling, cancel := context.WithTimeout(giveUp, drainTimeout)
	defer cancel()
	s.peers.AwaitDraining(telling)
	handingOver, cancel := context.WithTimeout(giveUp, handOverWithin+handOverAtOnce)
	defer cancel()
	s.peers.HandOver(handingOver, handOverWithin)
}

func (s *server) end(ctx context.Context, stop func(), subscribed <-chan error) error {
	leaving, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	left := s.signaling.Shutdown(leaving)

	draining, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	s.peers.Flush(draining)
	s.subscriber.Drain(draining)
	stop()
	err := errors.Join(left, <-subscribed)
	if closed := s.engine.Close(); closed != nil {
		err = errors.Join(err, fmt.Errorf("close the media engine: %w", closed))
	}

	return err
}
