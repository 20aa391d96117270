package signaling

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/internal/bounds"
	"github.com/nagi-rtc/nagi/mediaserver/auth"
	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

// Config is what a Server needs. A zero duration, size or count means the
// default that is named.
type Config struct {
	// Channels takes the clients in.
	Channels Channels
	// Authority decides which clients may come in, and as what; nil: all, as they like.
	Authority auth.Authority
	// ICE is what clients are told of ICE servers; nil: that they need none.
	ICE *ICEConfig
	// Peers knows where channels are hosted; nil: all of them here.
	Peers Peers
	// ConnectTimeout is how long a socket may stay without a connect message: 30 s.
	ConnectTimeout time.Duration
	// AnswerTimeout is how long a client may take to answer an offer or a
	// re-offer: 30 s.
	AnswerTimeout time.Duration
	// MediaTimeout is how long after the answer media may take to connect: 30 s.
	MediaTimeout time.Duration
	// PingInterval is the time between pings: 20 s, below any proxy's patience. A ping and its pong cost more than ICE's
	// checks.
	PingInterval time.Duration
	// PongTimeout is how long a client may stay without a pong: 60 s.
	PongTimeout time.Duration
	// WriteTimeout is how long the network may take to accept one message: 10 s.
	WriteTimeout time.Duration
	// MaxMessageSize of an incoming message, in bytes: 1 MiB. 4 times the last offer's
	// SDP are added to it, for the answer. Before the offer it is 128 KiB at most.
	MaxMessageSize int64
	// MaxSockets is how many WebSockets there may be at a time: 20,000.
	MaxSockets int
	// MaxSocketsPerAddress is how many of them may come from one IPv4 address, or one
	// /64 of IPv6: 1,000. Clients behind one proxy or NAT share it.
	MaxSocketsPerAddress int
	// MaxConnectsPerAddress is how many WebSockets an address may open in a second: 100,
	// and ten times as many at once.
	MaxConnectsPerAddress int
	// Log receives what clients are closed for; slog.Default if nil.
	Log *slog.Logger
	// Registerer takes the package's metrics; nil: they are not exported.
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	setDefault(&c.ConnectTimeout, 30*time.Second)
	setDefault(&c.AnswerTimeout, 30*time.Second)
	setDefault(&c.MediaTimeout, 30*time.Second)
	setDefault(&c.PingInterval, 20*time.Second)
	setDefault(&c.PongTimeout, 60*time.Second)
	setDefault(&c.WriteTimeout, 10*time.Second)
	setDefault(&c.MaxMessageSize, 1<<20)
	setDefault(&c.MaxSockets, 20_000)
	setDefault(&c.MaxSocketsPerAddress, 1_000)
	setDefault(&c.MaxConnectsPerAddress, 100)
	if c.Log == nil {
		c.Log = slog.Default()
	}

	return c
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// Server is the /signaling endpoint: a handler that takes WebSockets.
type Server struct {
	config  Config
	metrics *metrics
	crowd   *bounds.Crowd
	pace    *pace

	mu          sync.Mutex
	connections map[*connection]struct{}
	down        bool
	handlers    sync.WaitGroup
}

var _ http.Handler = (*Server)(nil)

// NewServer makes a Server. It has no goroutines but those of its requests;
// Shutdown ends them.
func NewServer(config Config) *Server {
	config = config.withDefaults()

	return &Server{
		config:      config,
		metrics:     newMetrics(config.Registerer),
		crowd:       bounds.NewCrowd(config.MaxSockets, config.MaxSocketsPerAddress),
		pace:        newPace(config.MaxConnectsPerAddress),
		connections: make(map[*connection]struct{}),
	}
}

// ServeHTTP takes one WebSocket and returns when it is gone and its connection
// has left the channel. A request that is no WebSocket handshake gets 426, one
// during Shutdown 503, one beyond a bound 503 (all sockets) or 429 (its address).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Clients come from pages of any origin: applications live elsewhere than
	// the media server. The origin protects cookies and the like, and there are
	// none here: a channel is open to whoever reaches the port, with or without
	// a browser.
	options := &websocket.AcceptOptions{InsecureSkipVerify: true}

	if !s.enter() {
		http.Error(w, "the media server is shutting down; connect again", http.StatusServiceUnavailable)

		return
	}
	defer s.handlers.Done()
	who, err := s.originOf(r)
	if err != nil {
		s.refusePass(w, r, err)

		return
	}
	from := who.network
	if refused := refusalOf(s.crowd.Enter(from)); refused != nil {
		s.refuse(w, refused)

		return
	}
	defer s.crowd.Leave(from)
	if !s.pace.allow(from, time.Now()) {
		s.refuse(w, tooFast)

		return
	}

	socket, err := websocket.Accept(w, r, options)
	if err != nil {
		s.config.Log.Debug("WebSocket handshake refused", "remote", r.RemoteAddr, "error", err)

		return // Accept has answered.
	}
	// The request's context says nothing about a hijacked socket.
	c := newConnection(context.WithoutCancel(r.Context()), s.config, s.metrics, socket, who)
	if !s.add(c) {
		c.end(&CloseError{Code: CodeGoingAway, Reason: ReasonShutdown})
	}
	defer s.remove(c)
	c.run()
}

// origin is where a client comes from.
type origin struct {
	network netip.Prefix
	remote  string
	// pass is what a media server says that passes it on; nil: it comes by itself.
	pass *peers.Pass
}

// originOf tells where a client comes from: what a pass says, which is trusted, counts in
// place of the address that the passing media server has.
func (s *Server) originOf(r *http.Request) (origin, error) {
	who := origin{remote: r.RemoteAddr}
	if s.config.Peers != nil {
		pass, err := s.config.Peers.Verify(r)
		if err != nil {
			return origin{}, err
		}
		if pass != nil {
			who.pass, who.remote = pass, pass.Client
		}
	}
	who.network = bounds.NetworkOf(who.remote)

	return who, nil
}

// Passed counts the clients that are passed on.
func (s *Server) Passed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	passed := 0
	for c := range s.connections {
		if c.relaying.Load() {
			passed++
		}
	}

	return passed
}

// refusePass refuses whoever shows a pass that is not to be believed, and logs it no more
// often than clients may come from its address.
func (s *Server) refusePass(w http.ResponseWriter, r *http.Request, err error) {
	if s.pace.allow(bounds.NetworkOf(r.RemoteAddr), time.Now()) {
		s.config.Log.Warn("a pass is not believed", "remote", r.RemoteAddr, "error", err)
	}
	s.metrics.refused.WithLabelValues("pass").Inc()
	http.Error(w, "the pass is not believed", http.StatusForbidden)
}

func (s *Server) refuse(w http.ResponseWriter, refused *refusal) {
	s.metrics.refused.WithLabelValues(refused.bound).Inc()
	http.Error(w, refused.advice, refused.status)
}

// enter counts a handler, unless the server goes down.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.down {
		return false
	}
	s.handlers.Add(1)

	return true
}

func (s *Server) add(c *connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.connections[c] = struct{}{}
	s.metrics.connections.Inc()

	return !s.down
}

func (s *Server) remove(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()

	delete(s.connections, c)
	s.metrics.connections.Dec()
}

// Shutdown refuses new clients, closes all others with 1001 SHUTDOWN and returns
// when every one has left its channel. When ctx ends before, sockets are cut
// without the closing handshake and the error says so.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.down = true
	for c := range s.connections {
		c.end(&CloseError{Code: CodeGoingAway, Reason: ReasonShutdown})
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.handlers.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}

	s.cut()
	<-done

	return fmt.Errorf("closing the WebSockets took too long, some were cut: %w", context.Cause(ctx))
}

// cut drops every socket. CloseNow waits, so no lock is held.
func (s *Server) cut() {
	s.mu.Lock()
	sockets := make([]*websocket.Conn, 0, len(s.connections))
	for c := range s.connections {
		sockets = append(sockets, c.socket)
	}
	s.mu.Unlock()

	for _, socket := range sockets {
		if err := socket.CloseNow(); err != nil && !errors.Is(err, context.Canceled) {
			s.config.Log.Debug("cutting a WebSocket", "error", err)
		}
	}
}
