// Package tables dials the managers, reports what this media server hosts,
// applies the channels' tables at the fence and acknowledges them.
//
// Everything is level-based: what a stream carries is the difference between what
// the Host says now and what the replica was told, so it can always be computed
// again. A lost stream is mended by saying everything anew, a difference that does
// not fit by saying one channel anew, and a slow replica is bounded by the number
// of channels.
package tables

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Config is what a Subscriber needs to know.
type Config struct {
	// Namespace is the tenant: the Kubernetes namespace whose pauses act here.
	Namespace string
	// Name is the media server's name, unique in its namespace.
	Name string
	// Incarnation tells this process from earlier ones of the same name; empty: it
	// is drawn.
	Incarnation string
	// Managers are host:port each. A host that is a name is looked up every 5 s,
	// and each of its addresses is dialled.
	Managers []string
	// DialOptions must hold the transport credentials.
	DialOptions []grpc.DialOption
	// Token reads the token that the options show, which is said again to managers that
	// take it when it is renewed; absent: there is none.
	Token func() (string, error)
	// Standing is what the managers are told of this media server with Hello: how others reach
	// it, and how much it takes. The rest of it is filled in.
	Standing *forwardingv1.Hello
	// Peers hears of the other media servers; absent: there are none.
	Peers Peers
	// LookupHost returns the addresses of a name; absent: the system's resolver.
	LookupHost func(ctx context.Context, host string) ([]string, error)
	// Log is required.
	Log *slog.Logger
	// Registerer takes the metrics; absent: they are kept from sight.
	Registerer prometheus.Registerer
}

func (c *Config) token() (string, error) {
	if c.Token == nil {
		return "", nil
	}

	return c.Token()
}

// Peers hears what replicas say of the media servers of the namespace. No method but
// Reaches blocks.
type Peers interface {
	// Members takes who they are, or what changed in that, from the replica at an address.
	Members(replica string, members *forwardingv1.Members)
	// Left says that the stream to the replica has ended.
	Left(replica string)
	// Unclaimed says that a channel that is reported is not this media server's by claim.
	Unclaimed(channelID string)
	// Reaches tells whether a media server answers; an error is that this one cannot say.
	Reaches(ctx context.Context, member *forwardingv1.Member) (bool, error)
}

// noPeers is a media server alone.
type noPeers struct{}

func (noPeers) Members(string, *forwardingv1.Members) {}
func (noPeers) Left(string)                           {}
func (noPeers) Unclaimed(string)                      {}
func (noPeers) Reaches(context.Context, *forwardingv1.Member) (bool, error) {
	return false, errors.New("the media server knows no others")
}

// Subscriber holds one stream to each manager replica.
type Subscriber struct {
	config  Config
	host    Host
	metrics *metrics
	// partBytes bounds the messages that are sent.
	partBytes int

	// settlers are the goroutines that apply tables, at most one per channel.
	settlers sync.WaitGroup

	// mu is never held while the Host is called, so that the Host may call
	// Changed with its own locks held.
	mu       sync.Mutex
	streams  map[*stream]struct{}
	channels map[string]*channel
	// failures are why there is no stream to an address, by address.
	failures map[string]error
	// arrivals counts the tables of all streams.
	arrivals uint64
	// era counts the restored backups that were followed.
	era      uint64
	ready    bool
	draining bool
	// retiring tells that the managers are to give this media server no more channels.
	retiring  bool
	lastFresh time.Time
}

// New returns a Subscriber, which does nothing until Run.
func New(config Config, host Host) *Subscriber {
	if config.Incarnation == "" {
		config.Incarnation = rand.Text()
	}
	if config.Peers == nil {
		config.Peers = noPeers{}
	}
	s := &Subscriber{
		config:    config,
		host:      host,
		partBytes: forwardingv1.MaxMessageBytes,
		streams:   make(map[*stream]struct{}),
		channels:  make(map[string]*channel),
		failures:  make(map[string]error),
		lastFresh: time.Now(),
	}
	s.metrics = newMetrics(config.Registerer, s)

	return s
}

// Changed says that the membership or the states of a channel are other than
// before: every replica is told what changed. It never blocks.
func (s *Subscriber) Changed(channelID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream := range s.streams {
		stream.mark(channelID)
	}
}

// Retire tells the managers that this media server drains: it keeps its channels, and is
// to be given no other.
func (s *Subscriber) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retiring = true
	for stream := range s.streams {
		stream.wakeWriter()
	}
}

// Placements are the replicas that know what is hosted here, as those who decide where
// channels are hosted; every media server has them in the same order.
func (s *Subscriber) Placements() []forwardingv1.PlacementClient {
	s.mu.Lock()
	defer s.mu.Unlock()
	byAddress := make(map[string]forwardingv1.PlacementClient, len(s.streams))
	for stream := range s.streams {
		if stream.complete && stream.confirmed {
			byAddress[stream.address] = stream.placement
		}
	}
	placements := make([]forwardingv1.PlacementClient, 0, len(byAddress))
	for _, address := range slices.Sorted(maps.Keys(byAddress)) {
		placements = append(placements, byAddress[address])
	}

	return placements
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
	stream.era = s.era
	if s.era > 0 {
		// Until it vouches for its tables they may be from before the restored backup.
		stream.era--
	}
	s.streams[stream] = struct{}{}
	delete(s.failures, stream.address)
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
	s.settleUndecided()
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
