package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
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

// errAnswers is wrapped where whoever is at a peer's address has answered, if not what was
// asked, and errAnother where that says that it is not the peer.
var (
	errAnswers = errors.New("answers")
	errAnother = errors.New("another media server is at its address")
)

// ServeHTTP answers peers whether a channel is hosted here. Whoever shows no pass gets 403, and
// a peer that means another media server 421.
func (p *Peers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := p.verify(r, toAsk); err != nil {
		p.config.Log.Debug("a peer's question refused", "remote", r.RemoteAddr, "error", err)
		if errors.Is(err, errTarget) {
			http.Error(w, "this is another media server", http.StatusMisdirectedRequest)
		} else {
			http.Error(w, "only media servers of this namespace are answered here", http.StatusForbidden)
		}

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
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusMisdirectedRequest:
		return answer, fmt.Errorf("ask the media server %s: %w", member.GetName(), errAnother)
	default:
		return answer, fmt.Errorf("the media server %s %w %s", member.GetName(), errAnswers, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("the media server %s %w with no JSON: %w", member.GetName(), errAnswers, err)
	}

	return answer, nil
}

// Reaches tells whether a media server answers, whatever it does; see tables.Peers. That it
// does not has to be seen: what keeps this one from asking is an error.
func (p *Peers) Reaches(ctx context.Context, member *forwardingv1.Member) (bool, error) {
	if member.GetName() == p.config.Name {
		return true, nil
	}
	if member.GetPeerAddress() == "" {
		// Who asks may not have heard it itself.
		for _, other := range p.directory.others() {
			if other.GetName() == member.GetName() {
				member = other
			}
		}
	}
	_, err := p.ask(ctx, member, "")
	switch {
	case err == nil, errors.Is(err, errAnswers):
		return true, nil
	case ctx.Err() == nil && (errors.Is(err, errAnother) || nobodyThere(err)):
		return false, nil
	}

	return false, err
}

// nobodyThere tells whether an error says that nobody takes a connection, or answers in time.
// Others, of a name that is not found or of what this process lacks, say nothing of the peer;
// nor does a connection that was ended, since somebody took it.
func nobodyThere(err error) bool {
	if _, unresolved := errors.AsType[*net.DNSError](err); unresolved {
		return false
	}
	late, ok := errors.AsType[net.Error](err)

	return ok && late.Timeout() || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH)
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
