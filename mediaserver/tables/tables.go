// Package tables dials the managers, reports what this media server hosts,
// applies the channels' tables at the fence and acknowledges them.
//
// Everything is level-based: what a stream carries can always be computed again
// from the Host, so a lost stream is mended by saying everything again, and a
// slow one is bounded by the number of channels.
package tables

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Host is what the tables act on: the channels of this media server. Its methods
// are called from several goroutines; Apply never twice at a time for one channel.
type Host interface {
	// Hosted returns the ids of the channels that have connections now.
	Hosted() []string
	// Report returns the channel's connections now; none when the channel is
	// hosted no longer. The result must not change afterwards.
	Report(channelID string) *forwardingv1.ChannelReport
	// Apply returns once the table is enforced. A table of a channel that is not
	// hosted is ignored.
	Apply(table *forwardingv1.Table)
	// Acknowledgement tells what the table applied last does now; nil when none
	// has been applied since the channel is hosted. The result must not change
	// afterwards.
	Acknowledgement(channelID string) *forwardingv1.Acknowledgement
}

// Config is what a Subscriber needs to know.
type Config struct {
	// Namespace is the tenant: the Kubernetes namespace whose pauses act here.
	Namespace string
	// Name is the media server's name, unique in its namespace.
	Name string
	// Managers are host:port each. A host that is a name is looked up every 5 s,
	// and each of its addresses is dialled.
	Managers []string
	// DialOptions must hold the transport credentials.
	DialOptions []grpc.DialOption
	// LookupHost returns the addresses of a name; absent: the system's resolver.
	LookupHost func(ctx context.Context, host string) ([]string, error)
	// Log is required.
	Log *slog.Logger
	// Registerer takes the metrics; absent: they are kept from sight.
	Registerer prometheus.Registerer
}

// Subscriber holds one stream to each manager replica.
type Subscriber struct {
	config  Config
	host    Host
	metrics *metrics

	// settlers are the goroutines that apply tables, at most one per channel.
	settlers sync.WaitGroup

	// mu is never held while the Host is called, so that the Host may call
	// Changed with its own locks held.
	mu        sync.Mutex
	streams   map[*stream]struct{}
	channels  map[string]*channel
	arrivals  uint64
	ready     bool
	draining  bool
	lastFresh time.Time
}

// New returns a Subscriber, which does nothing until Run.
func New(config Config, host Host) *Subscriber {
	if config.LookupHost == nil {
		config.LookupHost = net.DefaultResolver.LookupHost
	}
	s := &Subscriber{
		config:    config,
		host:      host,
		streams:   make(map[*stream]struct{}),
		channels:  make(map[string]*channel),
		lastFresh: time.Now(),
	}
	s.metrics = newMetrics(config.Registerer, s.staleness, s.streamCount)
	return s
}

// Changed says that the report or the acknowledgement of a channel is another
// than before: both are sent to every replica. It never blocks.
func (s *Subscriber) Changed(channelID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream := range s.streams {
		stream.mark(channelID, markReport|markAcknowledgement)
	}
}

// Ready tells whether some replica has once given a complete answer: a table for
// every channel hosted when its stream began, and its version. It stays true when
// the managers are lost, for then the last tables go on acting.
func (s *Subscriber) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// Drain sends what is still to be said, ends every stream in order and waits for
// the replicas to have read it, or for the end of ctx. No stream is opened
// afterwards. It is called when all connections have left, so that the managers
// learn of that: from silence they conclude nothing.
func (s *Subscriber) Drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	var ended []<-chan struct{}
	for stream := range s.streams {
		stream.wakeWriter()
		ended = append(ended, stream.ended)
	}
	s.mu.Unlock()
	for _, end := range ended {
		select {
		case <-end:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Subscriber) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// join makes a stream one of those that Changed and the version rules look at.
func (s *Subscriber) join(stream *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[stream] = struct{}{}
}

// leave is the opposite of join. What the replica said no longer counts, which
// may make a stale table the best that can be had.
func (s *Subscriber) leave(stream *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stream.fresh() {
		s.lastFresh = time.Now()
	}
	delete(s.streams, stream)
	s.settleUnheld()
}

// staleness is the time since some live replica last vouched for its tables; 0
// while one does.
func (s *Subscriber) staleness() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream := range s.streams {
		if stream.fresh() {
			return 0
		}
	}
	return time.Since(s.lastFresh)
}

func (s *Subscriber) streamCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}
