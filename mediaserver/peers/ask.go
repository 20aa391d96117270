package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Path is where peers ask each other.
const Path = "/peer"

// SignalingPath is where clients come, by themselves or passed on.
const SignalingPath = "/signaling"

const (
	// dialTimeout bounds the reaching of a peer: whoever does not take a connection in that
	// time is as good as gone.
	dialTimeout = 2 * time.Second
	// askTimeout bounds a question to a peer.
	askTimeout = time.Second
	// unableFor is how long a claim that failed tells that others would.
	unableFor = 5 * time.Second
	// maxAnswer is how long an answer may be, in bytes.
	maxAnswer = 4 << 10
	// channelParameter names the channel that is asked about.
	channelParameter = "channel_id"
)

// hostAnswer is what a peer says of a channel.
type hostAnswer struct {
	Hosted bool `json:"hosted"`
	// Able tells that it hears a manager, and that no claim of its has just failed.
	Able bool `json:"able"`
}

// ServeHTTP answers peers whether a channel is hosted here. Whoever shows no pass gets 403.
func (p *Peers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := p.verify(r, toAsk); err != nil {
		p.config.Log.Debug("a peer's question refused", "remote", r.RemoteAddr, "error", err)
		http.Error(w, "only media servers of this namespace are answered here", http.StatusForbidden)

		return
	}
	w.Header().Set("Content-Type", "application/json")
	// The only error is that the asker has gone.
	_ = json.NewEncoder(w).Encode(hostAnswer{
		Hosted: p.hosts(r.URL.Query().Get(channelParameter)),
		Able:   p.isAble(),
	})
}

// isAble tells whether a channel may be claimed here now, as far as is known.
func (p *Peers) isAble() bool {
	failed := p.failed.Load()

	return len(p.config.Placements()) > 0 && !p.isDraining() && (failed == nil || time.Since(*failed) > unableFor)
}

// ask asks a peer whether it hosts a channel; "" asks whether it answers.
func (p *Peers) ask(
	ctx context.Context, member *forwardingv1.Member, channelID string,
) (answer hostAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	pass, err := p.sign(Pass{}, member.GetName(), toAsk)
	if err != nil {
		return answer, err
	}
	target := urlOf("http", member.GetPeerAddress(), Path) + "?" + url.Values{channelParameter: {channelID}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return answer, fmt.Errorf("ask the media server %s: %w", member.GetName(), err)
	}
	request.Header.Set(Header, pass)
	response, err := p.client.Do(request)
	if err != nil {
		return answer, fmt.Errorf("ask the media server %s: %w", member.GetName(), err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("the media server %s answers %s", member.GetName(), response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("the media server %s answers with no JSON: %w", member.GetName(), err)
	}

	return answer, nil
}

// Reaches tells whether a media server answers; see tables.Peers.
func (p *Peers) Reaches(ctx context.Context, member *forwardingv1.Member) bool {
	if member.GetName() == p.config.Name {
		return true
	}
	_, err := p.ask(ctx, member, "")

	return err == nil
}

// Dial opens a WebSocket to a media server for a client that is passed on. The error wraps
// ErrUnreachable or ErrTooMany.
func (p *Peers) Dial(ctx context.Context, place *Place, pass Pass) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	value, err := p.awaitKeys(ctx, pass, place.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: pass a client on to %s: %w", ErrUnreachable, place.Name, err)
	}
	socket, response, err := websocket.Dial(ctx, urlOf("ws", place.PeerAddress, SignalingPath), &websocket.DialOptions{
		HTTPClient: p.client, HTTPHeader: http.Header{Header: {value}},
	})
	switch {
	case err != nil && response != nil && response.StatusCode == http.StatusTooManyRequests:
		return nil, ErrTooMany
	case err != nil:
		return nil, fmt.Errorf("%w: pass a client on to %s at %s: %w", ErrUnreachable, place.Name, place.PeerAddress, err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}

	return socket, nil
}

// awaitKeys signs, once some manager has given keys: it may just have been found.
func (p *Peers) awaitKeys(ctx context.Context, pass Pass, target string) (string, error) {
	for {
		value, err := p.sign(pass, target, toServe)
		if !errors.Is(err, errNoKeys) {
			return value, err
		}
		select {
		case <-ctx.Done():
			return "", errNoKeys
		case <-time.After(keyInterval):
		}
	}
}

// keyInterval is the time between two looks for keys.
const keyInterval = 20 * time.Millisecond
