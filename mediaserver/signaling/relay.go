package signaling

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

// maxRelayedSize of a message of the owner's, in bytes: the offer of a big channel is its
// largest.
const maxRelayedSize = 64 << 20

// relay hands a client's messages to the media server that hosts its channel, and back.
// What is under way to the client waits in its outbox; of what comes from the client one
// message is held.
type relay struct {
	*connection

	owner *websocket.Conn
	// texts are what the client has said so far, and what an authority has decided before it.
	texts [][]byte
	// heard is closed at the owner's first message, which has been queued then.
	heard chan struct{}
	// ended gets why the owner is not heard any more.
	ended chan error
}

// passOutcome is what came of passing a client on. Unless it was passed, nothing was said to
// the client.
type passOutcome struct {
	// passed: the client was served by the other media server, and that is over.
	passed bool
	// unreachable: the other does not answer. Else it does not host the channel, and told
	// is who does, as far as it knows; nil: it does not.
	unreachable bool
	told        *peers.Place
}

// passOn has the client served by another media server until either ends.
func (c *connection) passOn(request Connect, place *peers.Place) passOutcome {
	owner, texts, err := c.dialOwner(request, place)
	switch {
	case errors.Is(err, peers.ErrTooMany):
		c.end(refuse(ReasonTooManyClients, "%s: %v", place.Name, err))

		return passOutcome{passed: true}
	case err != nil:
		return c.notPassed(place, err)
	}
	c.timers.handshake.Stop() // The owner's rules from here on.
	r := relay{connection: c, owner: owner, texts: texts, heard: make(chan struct{}), ended: make(chan error, 1)}
	err = r.run()
	closed, _ := errors.AsType[websocket.CloseError](err)
	switch {
	case c.relaying.Load():
		return passOutcome{passed: true}
	case closed.Code == CodeNotOwner:
		c.metrics.passes.WithLabelValues("not_owner").Inc()
		c.log.Debug("a client was passed on to one that does not host its channel", "to", place.Name, "owner", closed.Reason)

		return passOutcome{told: c.config.Peers.Place(closed.Reason)}
	case closed.Code != 0:
		c.endAs(closed)

		return passOutcome{passed: true}
	}

	return c.notPassed(place, err)
}

func (c *connection) notPassed(place *peers.Place, err error) passOutcome {
	if c.ctx.Err() == nil {
		c.metrics.passes.WithLabelValues("unreachable").Inc()
		c.log.Warn("a client cannot be passed on", "to", place.Name, "error", err)
	}

	return passOutcome{unreachable: true}
}

// dialOwner opens a WebSocket to the owner and returns what is to be said there first: what the client has said, and,
// where an authority has decided already, its answer before that.
func (c *connection) dialOwner(request Connect, place *peers.Place) (*websocket.Conn, [][]byte, error) {
	if place.PeerAddress == "" {
		return nil, nil, fmt.Errorf("%w: it states no --peer-address", peers.ErrUnreachable)
	}
	pass := peers.Pass{Client: c.remote}
	texts := [][]byte{request.text}
	if c.decided != nil {
		text, err := json.Marshal(c.decided)
		if err != nil {
			return nil, nil, fmt.Errorf("write the authority's decision: %w", err)
		}
		sum := sha256.Sum256(text)
		pass.ConnectionID, pass.Decision = request.ConnectionID, sum[:]
		texts = [][]byte{text, request.text}
	}
	owner, err := c.config.Peers.Dial(c.ctx, place, pass)
	if err != nil {
		return nil, nil, err
	}
	owner.SetReadLimit(maxRelayedSize)

	return owner, texts, nil
}

// say tells the owner something, and whether it took that in time. Where it did not, the listener has yet to tell why:
// an owner that closes does not take anything any more, while its reason is still to be read.
func (r *relay) say(text []byte) bool {
	ctx, cancel := context.WithTimeout(r.ctx, r.config.WriteTimeout)
	defer cancel()
	err := r.owner.Write(ctx, websocket.MessageText, text)
	if err != nil {
		r.log.Debug("passing on", "error", err)
	}

	return err == nil
}

// run relays until either side ends, and returns why the owner did, if it did first.
func (r *relay) run() error {
	var parts sync.WaitGroup
	defer parts.Wait()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	defer cancel()
	parts.Go(func() { r.ended <- r.listen(ctx) })
	parts.Go(func() { r.watch(ctx) })

	// What the client says before the owner is heard is not for this one, maybe.
	var incoming chan received
	heard, late := r.heard, time.After(r.config.ConnectTimeout+r.config.AnswerTimeout)
	for _, text := range r.texts {
		if !r.say(text) {
			late = time.After(r.config.WriteTimeout)

			break
		}
	}
	for {
		select {
		case <-late:
			_ = r.owner.CloseNow() // The listener tells.
		case <-heard:
			heard, late, incoming = nil, nil, r.incoming
			r.metrics.passed.Inc()
			r.metrics.passes.WithLabelValues("passed").Inc()
			defer r.metrics.passed.Dec()
		case message := <-incoming:
			if !r.say(message.text) {
				late, incoming = time.After(r.config.WriteTimeout), nil
			}
		case err := <-r.ended:
			_ = r.owner.CloseNow()
			if r.relaying.Load() {
				r.lostOwner(err)
			}

			return err
		case <-r.ctx.Done():
			r.dismissOwner()

			return nil // The listener's goroutine is waited for; what it says has room.
		}
	}
}

// listen queues what the owner says for the client.
func (r *relay) listen(ctx context.Context) error {
	for {
		kind, text, err := r.owner.Read(ctx)
		if err != nil {
			return fmt.Errorf("the media server that hosts the channel is gone: %w", err)
		}
		if kind != websocket.MessageText {
			return errBinary
		}
		// An answer goes by its offer.
		r.offerSize.Store(max(r.offerSize.Load(), int64(len(text))))
		r.enqueue(text)
		if r.relaying.CompareAndSwap(false, true) {
			close(r.heard)
		}
	}
}

var errBinary = errors.New("the media server that hosts the channel sends binary frames")

// watch cuts an owner that does not answer pings: its silence would keep the client for good. One that takes none is
// given time to be heard, as in say.
func (r *relay) watch(ctx context.Context) {
	ticker := time.NewTicker(r.config.PingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		pinging, cancel := context.WithTimeout(ctx, r.config.WriteTimeout)
		err := r.owner.Ping(pinging)
		if err != nil {
			<-pinging.Done()
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			_ = r.owner.CloseNow()

			return
		}
	}
}

// lostOwner ends the client as its owner ended it. An owner that went without a word is
// like one that goes away: the client comes back, and is served elsewhere.
func (r *relay) lostOwner(err error) {
	closed, ok := errors.AsType[websocket.CloseError](err)
	if !ok || closed.Code == CodeNotOwner {
		closed = websocket.CloseError{Code: CodeGoingAway, Reason: ReasonShutdown}
	}
	r.endAs(closed)
}

// endAs ends the client with another media server's words.
func (c *connection) endAs(closed websocket.CloseError) {
	c.end(&CloseError{Code: int(closed.Code), Reason: closed.Reason, counted: reasonPassedOn})
}

// dismissOwner tells the owner how the client has ended: in the client's words, if it said
// any.
func (r *relay) dismissOwner() {
	closed, ok := errors.AsType[websocket.CloseError](context.Cause(r.ctx))
	if !ok || closed.Code < websocket.StatusNormalClosure || r.owner.Close(closed.Code, closed.Reason) != nil {
		_ = r.owner.CloseNow()
	}
}
