// Package peers knows where a channel is hosted: it asks the managers, else the other
// media servers, and passes clients on to these. It claims what is hosted here, gives it
// up when it ends, and hands it over when it is another's, or this media server drains.
package peers

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// WithoutClaim says what becomes of a channel that nobody hosts while nobody can be asked
// for a claim.
type WithoutClaim string

// The two policies. Serve opens a meeting though the control plane is down, at the risk of
// two halves until it is back; Refuse never has two.
const (
	Serve  WithoutClaim = "serve"
	Refuse WithoutClaim = "refuse"
)

// Why a client can be served nowhere.
var (
	// ErrNoRoom is that no media server takes one more channel.
	ErrNoRoom = errors.New("no media server has room for one more channel")
	// ErrUnclaimed is that the channel cannot be claimed now, and Refuse forbids to serve it.
	ErrUnclaimed = errors.New("no manager can say whose the channel is, and --without-claim=refuse")
	// ErrUnreachable is that nobody can be found who hosts the channel, or is to.
	ErrUnreachable = errors.New("the media server that hosts the channel cannot be reached")
	// ErrTooMany is that the media server that hosts the channel has as many clients of the
	// client's address as it may.
	ErrTooMany = errors.New("the media server that hosts the channel has too many clients at this address")
	// ErrDraining is that this media server drains, and finds no other for the channel.
	ErrDraining = errors.New("the media server drains, and no other takes the channel")
	// ErrMoved is that the channel is not to be opened here, and has to be found again.
	ErrMoved = errors.New("the channel is to be hosted elsewhere")
)

// Config is what a Peers needs to know.
type Config struct {
	// Namespace is the tenant, and Name this media server's name in it.
	Namespace, Name string
	// Placements are the manager replicas that are heard now.
	Placements func() []forwardingv1.PlacementClient
	// WithoutClaim is what to do while none can be asked.
	WithoutClaim WithoutClaim
	// Log is required.
	Log *slog.Logger
	// Registerer takes the metrics; nil: they are kept from sight.
	Registerer prometheus.Registerer
}

// Place is a media server at which a channel is hosted, or is to be.
type Place struct {
	Name string
	// PeerAddress is where the others reach it, host:port, and SignalingURL where clients
	// reach it and no other. Either may be empty.
	PeerAddress, SignalingURL string
	// Claimed tells that it hosts the channel, and not only is to.
	Claimed bool
}

func placeOf(member *forwardingv1.Member) *Place {
	return &Place{
		Name: member.GetName(), PeerAddress: member.GetPeerAddress(), SignalingURL: member.GetSignalingUrl(),
	}
}

// Peers is one media server's view of where channels are. Its methods may be called from
// any goroutine.
type Peers struct {
	config    Config
	metrics   *metrics
	directory *directory
	nonces    *nonces
	client    *http.Client
	began     time.Time
	// wake and releasing have room for one each: Run looks at everything when woken.
	wake, releasing chan struct{}
	// failed is when no manager could claim, if that was so when one was asked last.
	failed atomic.Pointer[time.Time]

	mu       sync.Mutex
	channels map[string]*hosted
	// opening is the number of the last opening. It begins with the time, so that it is greater
	// than those of the processes before, and goes on from what managers know.
	opening uint64
	// ended are channels whose claims are to be released; owed are those of them that are
	// released later, since nobody could be told.
	ended, owed openings
	draining    bool
}

// New makes a Peers, which renews and releases nothing until Run.
func New(config Config) *Peers {
	p := &Peers{
		config:    config,
		directory: newDirectory(config.Name),
		nonces:    newNonces(),
		client: &http.Client{
			// The addresses are ours, never ones beyond a proxy of the environment's.
			Transport: &http.Transport{
				DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, DisableKeepAlives: true,
				ResponseHeaderTimeout: dialTimeout,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		began:     time.Now(),
		wake:      make(chan struct{}, 1),
		releasing: make(chan struct{}, 1),
		channels:  make(map[string]*hosted),
		opening:   uint64(time.Now().UnixNano()), //nolint:gosec // It is after 1970.
		ended:     make(openings),
		owed:      make(openings),
	}
	p.metrics = newMetrics(config.Registerer, p)

	return p
}

// Run claims what has no claim as soon as that can be, and releases what has ended, until
// ctx ends. It returns when all its goroutines have.
func (p *Peers) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { p.renewClaims(ctx) })
	parts.Go(func() { p.release(ctx) })
	parts.Wait()
}

// Members takes what a replica says of the others; see tables.Peers.
func (p *Peers) Members(replica string, members *forwardingv1.Members) {
	p.directory.update(replica, members, time.Now())
	if members.GetWhole() {
		p.failed.Store(nil) // It may be.
	}
	signal(p.wake)
}

// Left takes that a replica is heard no longer; see tables.Peers. With the last one went
// whoever would have said that a claim is lost, so all are made sure of.
func (p *Peers) Left(replica string) {
	if p.directory.leave(replica) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.channels {
		h.doubtful = true
	}
}

// Unclaimed takes that a channel is not ours, as far as a replica knows; see tables.Peers.
func (p *Peers) Unclaimed(channelID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.channels[channelID]; h != nil && h.phase == open {
		h.doubtful = true
		signal(p.wake)
	}
}

// Drain has no more channels opened here.
func (p *Peers) Drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
}

// AwaitDraining returns once every manager that is heard has told that this media server
// drains, so that none gives it a channel that it hands over, or when ctx ends.
func (p *Peers) AwaitDraining(ctx context.Context) {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for !p.directory.tellsDraining() {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

func (p *Peers) isDraining() bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.draining
}

// Hosted counts the channels that are hosted here.
func (p *Peers) Hosted() int {
	p.mu.Lock()
	defer p.mu.Unlock()

	return len(p.channels)
}

func (p *Peers) unclaimed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	count := 0
	for _, h := range p.channels {
		if h.phase == open && !h.claimed {
			count++
		}
	}

	return count
}

// signal marks an event that may be marked already.
func signal(event chan<- struct{}) {
	select {
	case event <- struct{}{}:
	default:
	}
}
