package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// member is a bot in a channel that remembers every packet that arrived.
type member struct {
	*bot.Bot

	mu      sync.Mutex
	packets map[stream][]arrival
}

type stream struct {
	sender string // A connection id.
	kind   bot.Kind
}

// arrival is what is remembered of one RTP packet.
type arrival struct {
	at            time.Time
	ssrc          uint32
	sequence      uint16
	timestamp     uint32
	marker        bool
	keyframeStart bool
}

// join adds a client to a channel of the shared system; it leaves when the test
// ends.
func join(t *testing.T, channel, clientID string, role bot.Role, options ...func(*bot.Config)) *member {
	t.Helper()

	return running.mediaServers[0].join(t, channel, clientID, role, options...)
}

// join adds a client to a channel at this media server; it leaves when the test
// ends, if the media server lives.
func (m *mediaServer) join(
	t *testing.T, channel, clientID string, role bot.Role, options ...func(*bot.Config),
) *member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	config := bot.Config{URL: m.signalingURL, ChannelID: channel, ClientID: clientID, Role: role}
	for _, option := range options {
		option(&config)
	}
	joined, err := joinAs(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if m.isFrozen || m.ended {
			joined.Drop()

			return
		}
		joined.leave(t)
	})

	return joined
}

// joinAs adds a client to a channel. Whoever calls it ends the client.
func joinAs(ctx context.Context, config bot.Config) (*member, error) {
	joined := &member{packets: map[stream][]arrival{}}
	config.Observer = joined.observe
	var err error
	joined.Bot, err = bot.Join(ctx, config)

	return joined, err
}

// leave says goodbye; it may be called more than once, and after Drop.
func (m *member) leave(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := m.Leave(ctx); err != nil {
		t.Error(err)
	}
}

func (m *member) observe(p bot.Packet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := stream{p.SenderConnectionID, p.Kind}
	m.packets[key] = append(m.packets[key], arrival{
		at: p.Arrived, ssrc: p.Header.SSRC, sequence: p.Header.SequenceNumber,
		timestamp: p.Header.Timestamp, marker: p.Header.Marker, keyframeStart: p.KeyframeStart,
	})
}

// edge is what a pause acts on.
type edge struct{ receiver, sender *member }

// arrivals returns all packets of one kind that came from a sender so far.
func (m *member) arrivals(senderConnectionID string, kind bot.Kind) []arrival {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.packets[stream{senderConnectionID, kind}]

	return all[:len(all):len(all)] // Only ever appended to.
}

// arrivals returns all packets of one kind that came over the edge so far.
func (e edge) arrivals(kind bot.Kind) []arrival {
	return e.receiver.arrivals(e.sender.ConnectionID(), kind)
}

// awaitMore waits until n more packets of that kind have come over the edge.
func (e edge) awaitMore(t *testing.T, kind bot.Kind, n int) {
	t.Helper()
	e.awaitTotal(t, kind, len(e.arrivals(kind))+n)
}

// awaitTotal waits until n packets of that kind have come over the edge.
func (e edge) awaitTotal(t *testing.T, kind bot.Kind, n int) {
	t.Helper()
	await(t, "packets of "+string(kind), func() (int, bool) {
		count := len(e.arrivals(kind))

		return count, count >= n
	})
}

// awaitFlow waits until media of both kinds comes over the edge.
func (e edge) awaitFlow(t *testing.T) {
	t.Helper()
	e.awaitMore(t, bot.Video, 20)
	e.awaitMore(t, bot.Audio, 10)
}

// await returns the condition's value once it holds, and fails the test when it
// does not in time.
func await[T any](t *testing.T, what string, condition func() (T, bool)) T {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		value, ok := condition()
		if ok {
			return value
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("waited for %s in vain; last seen: %+v", what, value)
		}
	}
}
