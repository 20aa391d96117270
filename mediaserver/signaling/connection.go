package signaling

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/nagi-rtc/nagi/mediaserver/auth"
	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

// maxCandidates that one client may send; each costs the server memory and
// connectivity checks. A browser with many networks sends some dozens.
const maxCandidates = 256

// errDropped ends a connection whose socket is gone.
var errDropped = errors.New("the WebSocket is gone")

// phase is how far the handshake of one connection is.
type phase int

const (
	awaitingConnect phase = iota
	redirected
	awaitingAnswer
	established
)

// connection is one WebSocket from its handshake to its end. Three goroutines
// share it: run owns the state below, read decodes frames for it, write drains
// the queue. ctx ends, with the cause, as soon as the end is decided.
type connection struct {
	config  Config
	metrics *metrics
	socket  *websocket.Conn
	from    netip.Prefix // network
	// remote is the client's address, host:port, and pass what a media server said that has
	// passed it on; nil: it came by itself.
	remote string
	pass   *peers.Pass
	log    *slog.Logger

	ctx      context.Context
	end      context.CancelCauseFunc
	incoming chan received
	outbox   outbox
	// offerSize is the length of the last offer's SDP, in bytes.
	offerSize atomic.Int64
	// relaying tells that the channel's owner is heard, to whom the client has been passed on.
	relaying atomic.Bool
	// expectsDecision is the reader's: the first frame is what an authority has decided.
	expectsDecision bool

	renegotiate chan struct{}
	connected   chan struct{}

	// Owned by run.
	phase   phase
	session Session
	// decided is the authority's answer where it is there already, and leaveChannel ends the
	// stay in the channel; both may be nil.
	decided      auth.Answer
	leaveChannel func()
	reoffer      reofferState
	candidates   int
	timers       timers
}

// reofferState keeps at most one re-offer in flight; what is asked meanwhile is
// one more re-offer, whatever the number of requests.
type reofferState struct {
	wanted, outstanding bool
}

var _ Client = (*connection)(nil)

func newConnection(
	ctx context.Context, config Config, metrics *metrics, socket *websocket.Conn, who origin,
) *connection {
	ctx, end := context.WithCancelCause(ctx)

	return &connection{
		config:  config,
		metrics: metrics,
		socket:  socket,
		from:    who.network,
		remote:  who.remote,
		pass:    who.pass,
		// What is passed on with an authority's answer begins with that.
		expectsDecision: who.pass != nil && who.pass.Decision != nil,
		log:             config.Log,
		ctx:             ctx,
		end:             end,
		incoming:        make(chan received),
		outbox:          newOutbox(),
		renegotiate:     make(chan struct{}, 1),
		connected:       make(chan struct{}, 1),
	}
}

// run serves the client to its end and returns when nothing of it is left.
func (c *connection) run() {
	var goroutines sync.WaitGroup
	goroutines.Go(c.read)
	goroutines.Go(c.write)

	c.timers = newTimers(c.config)
	for c.ctx.Err() == nil {
		c.serveOne()
	}
	c.timers.stop()

	reason := c.logEnd()
	c.metrics.closed(reason)
	// The closing handshake goes on meanwhile: a client that does not answer it
	// must not stay in the channel for that.
	if c.session != nil {
		c.session.Leave(reason)
	}
	if c.leaveChannel != nil {
		c.leaveChannel()
	}
	goroutines.Wait()
}

// serveOne waits for one event and acts on it.
func (c *connection) serveOne() {
	select {
	case <-c.ctx.Done():
	case message := <-c.incoming:
		c.receive(message)
	case <-c.renegotiate:
		c.reoffer.wanted = true
		c.sendReoffer()
	case <-c.connected:
		c.timers.handshake.Stop()
	case <-c.timers.ping.C:
		c.send(pingMessage{Type: "ping"})
	case <-c.timers.pong.C:
		c.end(refuse(ReasonPongTimeout, "no pong for %v", c.config.PongTimeout))
	case <-c.timers.handshake.C:
		c.end(c.late())
	case <-c.timers.reAnswer.C:
		c.end(refuse(ReasonReAnswerTimeout, "no re-answer for %v", c.config.AnswerTimeout))
	}
}

// late is what a client is told that lets the handshake's time run out.
func (c *connection) late() *CloseError {
	if c.phase == redirected {
		return &CloseError{Code: CodeNormal, Reason: ReasonRedirected}
	}

	return refuse(c.timers.handshakeReason, "the client took too long")
}

func (c *connection) logEnd() (reason string) {
	var told *CloseError
	switch cause := context.Cause(c.ctx); {
	case !errors.As(cause, &told):
		c.log.Debug("signalling ended", "cause", cause)

		return reasonDropped
	case told.Code == CodeError:
		c.log.Warn("client closed", "code", told.Code, "reason", told.Reason, "detail", told.Detail)
	default:
		c.log.Debug("signalling ended", "code", told.Code, "reason", told.Reason, "detail", told.Detail)
	}

	return cmp.Or(told.counted, told.Reason)
}

// Notify queues a message; see Client.
func (c *connection) Notify(message any) {
	if text, ok := message.(Encoded); ok {
		c.enqueue(text)

		return
	}
	c.send(message)
	// Data is there in the newcomer's own copy only.
	if created, ok := message.(ConnectionCreated); ok && created.Data != nil {
		signal(c.connected)
	}
}

// Renegotiate asks for a re-offer; see Client.
func (c *connection) Renegotiate() { signal(c.renegotiate) }

// Close dismisses the client; see Client.
func (c *connection) Close(code int, reason string) {
	c.end(&CloseError{Code: code, Reason: reason})
}

// signal marks an event that may be marked already.
func signal(event chan<- struct{}) {
	select {
	case event <- struct{}{}:
	default:
	}
}

// timers of one connection.
type timers struct {
	// handshake runs until media is connected; handshakeReason is what a client
	// is told that lets it run out.
	handshake       *time.Timer
	handshakeReason string
	reAnswer        *time.Timer
	ping            *time.Ticker
	pong            *time.Timer
}

func newTimers(config Config) timers {
	t := timers{
		handshake:       time.NewTimer(config.ConnectTimeout),
		handshakeReason: ReasonConnectWaitTimeout,
		reAnswer:        time.NewTimer(config.AnswerTimeout),
		ping:            time.NewTicker(config.PingInterval),
		pong:            time.NewTimer(config.PongTimeout),
	}
	// These three wait for the offer: some SDKs do not answer a ping before it.
	t.reAnswer.Stop()
	t.ping.Stop()
	t.pong.Stop()

	return t
}

func (t *timers) await(duration time.Duration, reason string) {
	t.handshakeReason = reason
	t.handshake.Reset(duration)
}

func (t *timers) stop() {
	t.handshake.Stop()
	t.reAnswer.Stop()
	t.ping.Stop()
	t.pong.Stop()
}

// closeErrorOf finds what to tell the client, with reason for errors that do not
// say.
func closeErrorOf(err error, reason string) *CloseError {
	var told *CloseError
	if errors.As(err, &told) {
		return told
	}

	return refuse(reason, "%v", err)
}

// pingMessage keeps the connection alive. Stats would make clients send theirs,
// which nobody reads.
type pingMessage struct {
	Type  string `json:"type"`
	Stats bool   `json:"stats"`
}

// send marshals and queues a message.
func (c *connection) send(message any) {
	text, err := Encode(message)
	if err != nil {
		c.end(refuse(ReasonInternalError, "%v", err))

		return
	}
	c.enqueue(text)
}
