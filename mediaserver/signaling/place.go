package signaling

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/auth"
	"github.com/nagi-rtc/nagi/mediaserver/peers"
)

const (
	// maxPlaces is how many media servers are tried for a client.
	maxPlaces = 3
	// maxMoves is how often a channel may be found elsewhere than it was just found.
	maxMoves = 10
	// moveInterval is the time before it is found again.
	moveInterval = 50 * time.Millisecond
	// redirectTimeout is how long a client may take to go where it was redirected.
	redirectTimeout = 10 * time.Second
)

// decision is what an authority has decided about a client before it was passed on.
type decision struct{ answer auth.Answer }

func (decision) message() {}

// decodeDecision reads it, which must be what the pass is for.
func decodeDecision(text, sum []byte) (Message, error) {
	var d decision
	if actual := sha256.Sum256(text); !bytes.Equal(actual[:], sum) || json.Unmarshal(text, &d.answer) != nil {
		return nil, refuse(ReasonInvalidJSON, "the first frame is not the decision that the pass is for")
	}

	return d, nil
}

// place has the client served by the media server that hosts its channel: here, by
// redirection, or by passing it on.
func (c *connection) place(request Connect) {
	var failed []string
	var told *peers.Place // where the one tried last says that the channel is
	for tries, moves := 0, 0; tries < maxPlaces && moves < maxMoves; {
		// Whoever was passed here is served here, but where that has just been refused.
		place, err := c.find(request, told, c.pass != nil && moves == 0, failed)
		if err == nil && place == nil {
			if place, err = c.serve(request); err == nil && place == nil {
				return
			}
		}
		told = nil
		switch {
		case c.ctx.Err() != nil:
			return
		case errors.Is(err, peers.ErrMoved):
			moves++
			c.pause(moveInterval)
		case err != nil:
			c.end(notPlaced(err))

			return
		case c.pass != nil:
			// One hop: whoever passed it on tries there.
			owner := place.Name
			if len(owner) > maxCloseReason {
				owner = ""
			}
			c.end(&CloseError{Code: CodeNotOwner, Reason: owner, counted: reasonNotOwner})

			return
		case place.SignalingURL != "" && !request.Redirected && c.decided == nil:
			c.redirect(place)

			return
		default:
			tries++
			outcome := c.passOn(request, place)
			if outcome.passed || c.ctx.Err() != nil {
				return
			}
			if told = outcome.told; outcome.unreachable {
				failed = append(failed, place.Name)
			} else if told == nil {
				c.pause(moveInterval) // It is where it was just found not to be.
			}
		}
	}
	c.end(
		refuse(ReasonChannelUnreachable, "no media server could be found that hosts the channel; not reached: %v", failed),
	)
}

// pause waits, unless the client goes.
func (c *connection) pause(wait time.Duration) {
	select {
	case <-c.ctx.Done():
	case <-time.After(wait):
	}
}

// find tells where the channel is; nil: here.
func (c *connection) find(request Connect, told *peers.Place, passed bool, failed []string) (*peers.Place, error) {
	if told != nil {
		return told, nil
	}

	return c.config.Peers.Find(c.ctx, request.ChannelID, passed, failed...)
}

// serve admits the client and takes it into its channel here, or tells where that is: two
// may have claimed it at once.
func (c *connection) serve(request Connect) (elsewhere *peers.Place, err error) {
	admitted, err := c.admit(request)
	if err != nil {
		return nil, err
	}
	evict := func() { c.end(&CloseError{Code: CodeGoingAway, Reason: ReasonShutdown}) }
	leave, elsewhere, err := c.config.Peers.Enter(c.ctx, request.ChannelID, c.pass != nil, evict)
	if err != nil || elsewhere != nil {
		return elsewhere, err
	}
	c.leaveChannel = leave
	c.open(admitted)

	return nil, nil //nolint:nilnil // It is here.
}

// notPlaced is what a client is told who is served nowhere.
func notPlaced(err error) *CloseError {
	reason := ReasonInternalError
	switch {
	case errors.Is(err, peers.ErrDraining):
		return &CloseError{Code: CodeGoingAway, Reason: ReasonShutdown, Detail: err.Error()}
	case errors.Is(err, peers.ErrNoRoom):
		reason = ReasonTooManyChannels
	case errors.Is(err, peers.ErrUnclaimed):
		reason = ReasonChannelUnclaimed
	case errors.Is(err, peers.ErrUnreachable):
		reason = ReasonChannelUnreachable
	}

	return closeErrorOf(err, reason)
}

// redirectMessage sends a client to another media server, before it was sent an offer.
type redirectMessage struct {
	Type     string `json:"type"`
	Location string `json:"location"`
}

// redirect tells the client where its channel is. It is for the client to go.
func (c *connection) redirect(place *peers.Place) {
	c.metrics.redirects.Inc()
	c.log.Debug("client redirected", "to", place.Name)
	c.phase = redirected
	c.send(redirectMessage{Type: "redirect", Location: place.SignalingURL})
	c.timers.await(redirectTimeout, ReasonRedirected)
}
