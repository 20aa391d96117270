package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The event types of notify messages that a bot understands.
const (
	EventConnectionCreated   = "connection.created"
	EventConnectionDestroyed = "connection.destroyed"
	EventStreamPaused        = "rtp-stream.paused"
	EventStreamResumed       = "rtp-stream.resumed"
)

// Notification is a notify message of the server. Fields that an event does not
// have are empty.
type Notification struct {
	EventType        string   `json:"event_type"`
	ChannelID        string   `json:"channel_id"`
	ConnectionID     string   `json:"connection_id"`
	ClientID         string   `json:"client_id"`
	Role             Role     `json:"role"`
	RecvConnectionID string   `json:"recv_connection_id"`
	SendConnectionID string   `json:"send_connection_id"`
	StreamID         string   `json:"stream_id"`
	Kinds            []string `json:"kinds"`
	// Reason is why a stream is paused, as whoever paused it put it.
	Reason string `json:"reason"`
	// Connections is how many connections the channel has.
	Connections int `json:"channel_connections"`

	// Raw is the whole message.
	Raw json.RawMessage `json:"-"`
	// Arrived is when it was read.
	Arrived time.Time `json:"-"`
}

// maxNotices bounds the log of a bot that runs for days.
const maxNotices = 1024

// notices is the log of notifications, and what follows from them.
type notices struct {
	mu      sync.Mutex
	log     []Notification
	dropped int           // How many were dropped from the front of log.
	grown   chan struct{} // Closed and replaced at every addition.
	ending  bool
	pauses  map[pausedStream]bool
	left    map[string]bool // Connections that were destroyed.
}

// pausedStream is an edge and a kind that the server said is paused.
type pausedStream struct {
	receiver, sender string
	kind             Kind
}

func newNotices() *notices {
	return &notices{grown: make(chan struct{}), pauses: map[pausedStream]bool{}, left: map[string]bool{}}
}

func (l *notices) add(n Notification) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, n)
	if len(l.log) > maxNotices {
		l.log = slices.Delete(l.log, 0, 1)
		l.dropped++
	}
	if n.EventType == EventConnectionDestroyed {
		l.left[n.ConnectionID] = true
	}
	if n.EventType == EventStreamPaused || n.EventType == EventStreamResumed {
		for _, kind := range n.Kinds {
			key := pausedStream{n.RecvConnectionID, n.SendConnectionID, Kind(strings.ToLower(kind))}
			l.pauses[key] = n.EventType == EventStreamPaused
		}
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *notices) paused(receiver, sender string, kind Kind) bool {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.pauses[pausedStream{receiver, sender, kind}]
}

func (l *notices) gone(connectionID string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.left[connectionID]
}

// expectEnd notes that the server was asked to close the socket.
func (l *notices) expectEnd() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending = true
}

func (l *notices) endExpected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.ending
}

// since returns the notifications from index from on (counted from the bot's
// beginning), the index after the last, and a channel that closes when there
// are more.
func (l *notices) since(from int) ([]Notification, int, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := max(from-l.dropped, 0)

	return slices.Clone(l.log[start:]), l.dropped + len(l.log), l.grown
}

// Notifications returns the notifications so far, oldest first; of very many
// only the last 1024.
func (b *Bot) Notifications() []Notification {
	all, _, _ := b.notices.since(0)

	return all
}

// WaitNotification returns the first notification since the bot began for which
// match is true, waiting for it until ctx or the bot ends.
func (b *Bot) WaitNotification(ctx context.Context, match func(Notification) bool) (Notification, error) {
	from := 0
	for {
		news, next, grown := b.notices.since(from)
		if i := slices.IndexFunc(news, match); i >= 0 {
			return news[i], nil
		}
		from = next
		select {
		case <-grown:
		case <-ctx.Done():
			return Notification{}, fmt.Errorf("no such notification among %d: %w", next, context.Cause(ctx))
		case <-b.ctx.Done():
			return Notification{}, b.Err()
		}
	}
}
