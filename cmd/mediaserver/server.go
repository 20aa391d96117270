package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/mediaserver/auth"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

const (
	// leaveTimeout bounds how long clients may take to answer the closing.
	leaveTimeout = 5 * time.Second
	// drainTimeout bounds the telling of the managers that they left.
	drainTimeout = time.Second
)

// server is the parts of the SFU and the order in which they end.
type server struct {
	engine     *rtc.Engine
	registry   *channel.Registry
	subscriber *tables.Subscriber
	signaling  *signaling.Server
}

func newServer(
	o options, engine *rtc.Engine, authority auth.Authority, ice *signaling.ICEConfig,
	registerer prometheus.Registerer, log *slog.Logger,
) *server {
	s := &server{engine: engine}
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
	s.subscriber = tables.New(tables.Config{
		Namespace:   o.namespace,
		Name:        o.name,
		Incarnation: rand.Text(),
		Managers:    o.managers,
		DialOptions: o.credentials.Options(),
		Token:       o.credentials.Token,
		Log:         log,
		Registerer:  registerer,
	}, s.registry)
	s.signaling = signaling.NewServer(signaling.Config{
		Channels:              s.registry,
		Authority:             authority,
		ICE:                   ice,
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
	if err := s.subscriber.Ready(); err != nil {
		return fmt.Errorf("no manager has given a complete answer yet, which is a table for every channel hosted, and its version: %w", err)
	}

	return nil
}

// run subscribes to the managers until ctx ends, then ends everything in the
// order in which it depends on each other: the clients are told (1001 SHUTDOWN)
// and leave, the managers learn that they left (they would take silence for a
// lost media server, and wait 10 minutes), then the streams and the media end.
func (s *server) run(ctx context.Context) error {
	subscription, unsubscribe := context.WithCancel(context.WithoutCancel(ctx))
	defer unsubscribe()
	subscribed := make(chan error, 1)
	go func() { subscribed <- s.subscriber.Run(subscription) }()

	var failed error
	select {
	case <-ctx.Done():
	case failed = <-subscribed:
		subscribed <- nil
	}

	return errors.Join(failed, s.end(context.WithoutCancel(ctx), unsubscribe, subscribed))
}

func (s *server) end(ctx context.Context, unsubscribe func(), subscribed <-chan error) error {
	leaving, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	left := s.signaling.Shutdown(leaving)

	draining, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	s.subscriber.Drain(draining)
	unsubscribe()
	err := errors.Join(left, <-subscribed)
	if closed := s.engine.Close(); closed != nil {
		err = errors.Join(err, fmt.Errorf("close the media engine: %w", closed))
	}

	return err
}
