// Package channel knows who is in a channel and which edges that makes. It is
// the one place where connections, pause tables and fan-out meet.
//
// Everything in it is level-based: whatever happens (a table arrives, somebody
// joins, answers or leaves, a pause expires, the wait for a table ends), the
// channel computes afresh what each of its edges should do and brings the edges
// there.
package channel

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
)

// WithoutTable says what becomes of new edges when the wait for the channel's
// first table has ended without one.
type WithoutTable string

// The two policies. Forward opens a meeting though the control plane is down;
// Hold never lets a packet out that a pause might withhold.
const (
	Forward WithoutTable = "forward"
	Hold    WithoutTable = "hold"
)

// Config is what a Registry needs.
type Config struct {
	// Engine makes the peer connections.
	Engine *rtc.Engine
	// Changed is told of every channel whose report or acknowledgement changed.
	// It must not block.
	Changed func(channelID string)
	// TableWait is how long the media of new edges waits for a channel's first
	// table before WithoutTable decides.
	TableWait time.Duration
	// WithoutTable decides then.
	WithoutTable WithoutTable
	// Log gets what an operator should see.
	Log *slog.Logger
	// Registerer gets the metrics.
	Registerer prometheus.Registerer
}

// Registry holds all channels of a media server. Its methods may be called from
// any goroutine.
type Registry struct {
	config  Config
	metrics *metrics

	mu       sync.Mutex
	channels map[string]*channel
}

// New makes an empty registry.
func New(config Config) *Registry {
	return &Registry{
		config:   config,
		metrics:  newMetrics(config.Registerer),
		channels: make(map[string]*channel),
	}
}

// Join adds a connection to a channel, which begins with it if nobody is in it
// yet, and reports it; the returned session makes the offer.
func (r *Registry) Join(_ context.Context, request signaling.Connect, client signaling.Client) (signaling.Session, error) {
	s := &session{registry: r, member: newMember(request, client), log: r.config.Log.With("channel", request.ChannelID)}
	if err := s.member.connect(r.config.Engine, s, r.metrics, s.log); err != nil {
		s.member.close(s.log)

		return nil, fmt.Errorf("making a peer connection for channel %q: %w", request.ChannelID, err)
	}
	s.channel = r.lockOrOpen(request.ChannelID, s.log)
	s.channel.add(s.member)
	s.channel.mu.Unlock()
	s.log.Info("connection joined", "connection", s.member.id(), "role", request.Role)

	return s, nil
}

// lockOrOpen returns the channel locked; it begins now if nobody is in it.
func (r *Registry) lockOrOpen(channelID string, log *slog.Logger) *channel {
	for {
		r.mu.Lock()
		ch := r.channels[channelID]
		if ch == nil {
			ch = newChannel(channelID, r.config, r.metrics, log)
			r.channels[channelID] = ch
		}
		r.mu.Unlock()
		if ch.lock() {
			return ch
		}
	}
}

// lock returns the channel locked, nil when it is not hosted.
func (r *Registry) lock(channelID string) *channel {
	for {
		r.mu.Lock()
		ch := r.channels[channelID]
		r.mu.Unlock()
		if ch == nil || ch.lock() {
			return ch
		}
	}
}

// forget drops a channel that nobody is in any more, with its table.
func (r *Registry) forget(ch *channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch.mu.Lock()
	defer ch.mu.Unlock()

	if len(ch.members) == 0 && r.channels[ch.id] == ch {
		delete(r.channels, ch.id)
		ch.close()
	}
}

// Hosted returns the ids of all channels with a connection in them.
func (r *Registry) Hosted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()

	ids := make([]string, 0, len(r.channels))
	for id := range r.channels {
		ids = append(ids, id)
	}
	slices.Sort(ids)

	return ids
}

// Report returns the connections of a channel, none when it is not hosted.
func (r *Registry) Report(channelID string) *forwardingv1.ChannelReport {
	report := &forwardingv1.ChannelReport{ChannelId: channelID}
	if ch := r.lock(channelID); ch != nil {
		defer ch.mu.Unlock()
		report.Connections = ch.connections()
	}

	return report
}

// Apply makes a table the one in force and returns when it is: then every edge
// that it pauses has been fenced. A channel that is not hosted ignores it.
func (r *Registry) Apply(table *forwardingv1.Table) {
	ch := r.lock(table.GetChannelId())
	if ch == nil {
		return
	}
	defer ch.mu.Unlock()

	ch.table = table
	ch.reconcile()
}

// Acknowledgement returns what the channel's table does now, nil before the
// first table.
func (r *Registry) Acknowledgement(channelID string) *forwardingv1.Acknowledgement {
	ch := r.lock(channelID)
	if ch == nil {
		return nil
	}
	defer ch.mu.Unlock()
	if ch.table == nil {
		return nil
	}

	return ch.acknowledge()
}
