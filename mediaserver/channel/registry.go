// Package channel knows who is in a channel and which edges that makes. It is
// the one place where connections, pause tables and fan-out meet.
//
// Whatever happens (a table arrives, somebody joins, answers or leaves, a pause
// expires, the wait for a table ends) is one step: the matcher tells which edges
// are withheld otherwise than before, these are brought there behind one fence, and
// only then it is told.
package channel

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	// Changed is told of every channel whose membership or states of pauses changed.
	// It may be called with the channel's lock held, so it must neither block nor
	// call the Registry.
	Changed func(channelID string)
	// TableWait is how long the media of new edges waits for a channel's first
	// table before WithoutTable decides.
	TableWait time.Duration
	// WithoutTable decides then.
	WithoutTable WithoutTable
	// MaxChannels is how many channels there may be at a time; 0: 10,000.
	MaxChannels int
	// MaxMembers is how many connections a channel may have; 0: 1,000. What a channel
	// costs goes by the product of its senders and receivers.
	MaxMembers int
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

	mu        sync.Mutex // held for a few instructions only
	channels  map[string]*channel
	instances uint64 // how many channels have been opened
}

// New makes an empty registry.
func New(config Config) *Registry {
	config.MaxChannels = cmp.Or(config.MaxChannels, 10_000)
	config.MaxMembers = cmp.Or(config.MaxMembers, 1_000)

	return &Registry{
		config:   config,
		metrics:  newMetrics(config.Registerer),
		channels: make(map[string]*channel),
	}
}

// Join adds a connection to a channel, which begins with it if nobody is in it
// yet, and reports it; the returned session makes the offer. The error is a
// *signaling.CloseError when there may be no more channels, or members or profiles of
// this one.
func (r *Registry) Join(
	_ context.Context, request signaling.Connect, client signaling.Client,
) (signaling.Session, error) {
	s := &session{registry: r, member: newMember(request, client), log: r.config.Log.With("channel", request.ChannelID)}
	if err := s.member.connect(r.config.Engine, s, r.metrics, s.log); err != nil {
		s.member.close(s.log)

		return nil, fmt.Errorf("making a peer connection for channel %q: %w", request.ChannelID, err)
	}
	if err := r.enter(s, request.ChannelID); err != nil {
		s.member.close(s.log)

		return nil, err
	}
	s.log.Info("connection joined", "connection", s.member.id(), "role", request.Role)

	return s, nil
}

// Counts counts the connections of a channel, those among them whose media is not up yet.
func (r *Registry) Counts(channelID string) signaling.Counts {
	var counts signaling.Counts
	ch := r.lock(channelID)
	if ch == nil {
		return counts
	}
	defer ch.mu.Unlock()
	for _, m := range ch.members {
		counts.Add(m.connection.GetRole())
	}

	return counts
}

// enter takes the session's member into its channel, or says which bound is reached.
func (r *Registry) enter(s *session, channelID string) error {
	ch := r.lockOrOpen(channelID, s.log)
	if ch == nil {
		return &signaling.CloseError{
			Code: signaling.CodeError, Reason: signaling.ReasonTooManyChannels,
			Detail: fmt.Sprintf("there are %d channels (--max-channels)", r.config.MaxChannels),
		}
	}
	defer ch.mu.Unlock()
	if len(ch.members) >= r.config.MaxMembers {
		return &signaling.CloseError{
			Code: signaling.CodeError, Reason: signaling.ReasonChannelFull,
			Detail: fmt.Sprintf("the channel has %d connections (--max-channel-connections)", r.config.MaxMembers),
		}
	}
	if !ch.admits(s.member.formats) {
		return &signaling.CloseError{
			Code: signaling.CodeError, Reason: signaling.ReasonTooManyProfiles,
			Detail: fmt.Sprintf("the channel has %d profiles of codecs: use one of them, or the codec's default",
				maxProfiles),
		}
	}
	if err := ch.agreeOnSpotlight(s.member); err != nil {
		return err
	}
	s.channel = ch
	ch.add(s.member)

	return nil
}

// lockOrOpen returns the channel locked; it begins now if nobody is in it. It is nil
// if there may be no more channels.
func (r *Registry) lockOrOpen(channelID string, log *slog.Logger) *channel {
	for {
		r.mu.Lock()
		ch := r.channels[channelID]
		if ch == nil && len(r.channels) >= r.config.MaxChannels {
			r.mu.Unlock()

			return nil
		}
		if ch == nil {
			r.instances++
			ch = newChannel(channelID, r.instances, r.config, r.metrics, log)
			r.channels[channelID] = ch
		}
		r.mu.Unlock()
		if ch.lock() {
			return ch
		}
		r.drop(ch)
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
		r.drop(ch)
	}
}

// forget ends a channel that nobody is in any more, with its table.
func (r *Registry) forget(ch *channel) {
	ch.mu.Lock()
	ended := len(ch.members) == 0 && !ch.closed
	if ended {
		ch.close()
	}
	ch.mu.Unlock()
	if ended {
		r.drop(ch)
		r.config.Changed(ch.id)
	}
}

// drop takes out a channel that has ended, unless another is in its place. A
// channel's lock, which may be held for long, is never waited for under the
// registry's, which all channels need.
func (r *Registry) drop(ch *channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.channels[ch.id] == ch {
		delete(r.channels, ch.id)
	}
}
