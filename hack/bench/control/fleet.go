//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

const (
	// smallConnections are in each of the many channels; smallEdges are the edges
	// among all of them but the last one, to which the samples' edges lead.
	smallConnections = 5
	smallEdges       = (smallConnections - 1) * (smallConnections - 2)
	// fleetLimit bounds what the whole fleet is waited for.
	fleetLimit = 10 * time.Minute
)

func channelName(i int) string             { return fmt.Sprintf("channel-%05d", i) }
func connectionName(channel, i int) string { return fmt.Sprintf("%s-%d", channelName(channel), i) }

// smallEdge is the receiver and the sender of the so many-th edge of a channel.
func smallEdge(i int) (receiver, sender int) {
	receiver, sender = i/(smallConnections-2), i%(smallConnections-2)
	if sender >= receiver {
		sender++
	}

	return receiver, sender
}

// fleet is simulated media servers, each with a Subscriber of its own, as a media
// server has it.
type fleet struct {
	manager string
	servers []*mediaServer
	// live is one more, which never reconnects.
	live *mediaServer

	mu      sync.Mutex
	changed chan struct{} // Closed, and replaced, at each change.
	held    int
	applies int
	uids    map[string]bool // Of pauses that are held.
}

// mediaServer is the channels of one, and its streams.
type mediaServer struct {
	name  string
	fleet *fleet

	mu         sync.Mutex
	channels   map[string]*simulatedChannel
	subscriber *tables.Subscriber
	end        context.CancelFunc
	ended      chan struct{}
}

// newFleet has all media servers with their channels, but for the one that stays
// connected.
func newFleet(o options, manager string) *fleet {
	f := &fleet{manager: manager, changed: make(chan struct{}), uids: map[string]bool{}}
	for i := range o.mediaServers {
		server := f.server(fmt.Sprintf("ms-%04d", i))
		for channel := i; channel < o.channels; channel += o.mediaServers {
			server.host(channelName(channel), smallConnections)
		}
		f.servers = append(f.servers, server)
	}

	return f
}

func (f *fleet) server(name string) *mediaServer {
	return &mediaServer{name: name, fleet: f, channels: map[string]*simulatedChannel{}}
}

func startFleet(ctx context.Context, o options, s *system) (*fleet, error) {
	f := newFleet(o, s.managerAddress)
	if err := s.claim(ctx, f); err != nil {
		return nil, err
	}
	f.live = f.server("ms-live")
	f.live.start()
	if err := s.served(ctx, o, 1, f.start); err != nil {
		f.stop()

		return nil, err
	}

	return f, nil
}

// start opens the streams of all that may reconnect.
func (f *fleet) start() error {
	for _, server := range f.servers {
		server.start()
	}

	return nil
}

// disconnect ends the streams of all that may reconnect.
func (f *fleet) disconnect() {
	var ending sync.WaitGroup
	for _, server := range f.servers {
		ending.Go(server.stop)
	}
	ending.Wait()
}

func (f *fleet) stop() {
	f.disconnect()
	f.live.stop()
}

// served has a fleet connect to the manager and waits until the manager has sent a
// table for every channel and has all streams, and so many others.
func (s *system) served(ctx context.Context, o options, others int, connect func() error) error {
	before, err := s.managerFigures(ctx)
	if err != nil {
		return err
	}
	if err := connect(); err != nil {
		return err
	}

	return s.awaitServed(ctx, o, others, before)
}

func (s *system) awaitServed(ctx context.Context, o options, others int, before map[string]float64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fleetLimit, fmt.Errorf("not within %s", fleetLimit))
	defer cancel()
	for {
		now, err := s.managerFigures(ctx)
		if err == nil && now["nagi_mediaserver_streaming"] == float64(o.mediaServers+others) &&
			now["nagi_table_sent_total"]-before["nagi_table_sent_total"] >= float64(o.channels) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until the manager serves all media servers: %w", errors.Join(context.Cause(ctx), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// open hosts a channel of so many connections at the server that stays connected,
// and waits until its table is there.
func (f *fleet) open(ctx context.Context, id string, connections int) (*simulatedChannel, error) {
	return f.opened(ctx, f.live.host(id, connections))
}

// openCrowd hosts a channel with so many senders among its connections.
func (f *fleet) openCrowd(ctx context.Context, id string, senders, connections int) (*simulatedChannel, error) {
	all := make([]*forwardingv1.Connection, connections)
	for i := range all {
		role := forwardingv1.Role_ROLE_RECVONLY
		if i < senders {
			role = forwardingv1.Role_ROLE_SENDONLY
		}
		all[i] = newConnection(id, i, role)
	}

	return f.opened(ctx, f.live.add(newSimulatedChannel(id, all)))
}

func (f *fleet) opened(ctx context.Context, c *simulatedChannel) (*simulatedChannel, error) {
	f.live.subscriber.Changed(c.id)

	return c, f.await(ctx, "the first table of "+c.id, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()

		return c.version > 0
	})
}

// noteApplied is told of every table that acts now.
func (f *fleet) noteApplied(before, after int, set []*forwardingv1.Pause, removed []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held += after - before
	f.applies++
	for _, pause := range set {
		f.uids[pause.GetUid()] = true
	}
	for _, uid := range removed {
		delete(f.uids, uid)
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// applied counts the tables and differences that media servers have applied.
func (f *fleet) applied() int {
	f.mu.Lock()
	defer f.mu.Unlock()

	return f.applies
}

func (f *fleet) awaitHeld(ctx context.Context, count int) error {
	return f.await(ctx, fmt.Sprintf("%d pauses at the media servers", count), func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()

		return f.held == count
	})
}

func (f *fleet) awaitUID(ctx context.Context, uid string, there bool) error {
	return f.await(ctx, "the pause "+uid, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()

		return f.uids[uid] == there
	})
}

// await returns once the condition holds, which it looks at after each change.
func (f *fleet) await(ctx context.Context, what string, condition func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fleetLimit, fmt.Errorf("not within %s", fleetLimit))
	defer cancel()
	for {
		f.mu.Lock()
		changed := f.changed
		f.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			f.mu.Lock()
			defer f.mu.Unlock()

			return fmt.Errorf("wait for %s (%d are held): %w", what, f.held, context.Cause(ctx))
		}
	}
}

// host makes a channel whose connections all send and receive.
func (m *mediaServer) host(id string, connections int) *simulatedChannel {
	all := make([]*forwardingv1.Connection, connections)
	for i := range all {
		all[i] = newConnection(id, i, forwardingv1.Role_ROLE_SENDRECV)
	}

	return m.add(newSimulatedChannel(id, all))
}

func (m *mediaServer) add(c *simulatedChannel) *simulatedChannel {
	c.applied = m.fleet.noteApplied
	c.changed = func(channelID string) { m.subscriber.Changed(channelID) }
	m.mu.Lock()
	defer m.mu.Unlock()
	m.channels[c.id] = c

	return c
}

func (m *mediaServer) start() {
	ctx, end := context.WithCancel(context.Background())
	m.end, m.ended = end, make(chan struct{})
	m.subscriber = tables.New(tables.Config{
		// The same at each start: it reconnects, wherever it goes on.
		Namespace: namespace, Name: m.name, Incarnation: m.name, Managers: []string{m.fleet.manager},
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
		Log:         slog.New(slog.DiscardHandler),
	}, m)
	subscriber, ended := m.subscriber, m.ended
	go func() {
		defer close(ended)
		_ = subscriber.Run(ctx) // Nil unless the configuration is wrong.
	}()
}

func (m *mediaServer) stop() {
	if m.end != nil {
		m.end()
		<-m.ended
	}
}

// Hosted implements tables.Host.
func (m *mediaServer) Hosted() []string {
	m.mu.Lock()
	defer m.mu.Unlock()

	return slices.Collect(maps.Keys(m.channels))
}

func (m *mediaServer) channel(id string) *simulatedChannel {
	m.mu.Lock()
	defer m.mu.Unlock()

	return m.channels[id]
}

// Membership implements tables.Host.
func (m *mediaServer) Membership(channelID string, of, since uint64) tables.Membership {
	if c := m.channel(channelID); c != nil {
		return c.membership(of, since)
	}

	return tables.Membership{}
}

// Apply implements tables.Host.
func (m *mediaServer) Apply(table tables.Table) {
	if c := m.channel(table.ChannelID); c != nil {
		c.apply(table)
	}
}

// States implements tables.Host.
func (m *mediaServer) States(channelID string, of, since uint64) tables.States {
	if c := m.channel(channelID); c != nil {
		return c.states(of, since)
	}

	return tables.States{}
}

// Ask implements tables.Host.
func (m *mediaServer) Ask(question *forwardingv1.Question) *forwardingv1.Answer {
	if c := m.channel(question.GetChannelId()); c != nil {
		return c.ask(question)
	}

	return &forwardingv1.Answer{QuestionId: question.GetId(), Error: "nobody is in the channel"}
}
