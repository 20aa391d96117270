package channel

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
)

// channel is one channel of this media server: its members, the edges between
// them and the table in force. mu guards all of it; methods other than those of
// timers expect it to be held.
type channel struct {
	id      string
	config  Config
	metrics *metrics
	log     *slog.Logger

	mu      sync.Mutex
	members []*member // in the order of joining
	edges   map[pair]*edge
	closed  bool

	// table is nil until the first one arrives. It is replaced, never changed.
	table *forwardingv1.Table
	// effects are what the table does since the fence was passed last.
	effects []pauseEffect
	// waitEnds is when the wait for the first table ends.
	waitEnds   time.Time
	waitEnded  bool
	nextChange *time.Timer
}

func newChannel(id string, config Config, metrics *metrics, log *slog.Logger) *channel {
	return &channel{
		id:       id,
		config:   config,
		metrics:  metrics,
		log:      log,
		edges:    make(map[pair]*edge),
		waitEnds: time.Now().Add(config.TableWait),
	}
}

// lock locks the channel; false, and not locked, when it has ended.
func (ch *channel) lock() bool {
	ch.mu.Lock()
	if ch.closed {
		ch.mu.Unlock()

		return false
	}

	return true
}

// add lets a member in: its edges from everybody who sends already are made, so
// that the first offer carries them, and all of it is reported.
func (ch *channel) add(m *member) {
	ch.members = append(ch.members, m)
	ch.metrics.connections.Inc()
	for _, other := range ch.members {
		ch.link(m, other)
		ch.link(other, m)
	}
	ch.reconcile()
}

// remove takes a member out with all its edges. The edges of others with it
// leave their offers too.
func (ch *channel) remove(m *member) {
	index := slices.Index(ch.members, m)
	if index < 0 {
		return
	}
	ch.members = slices.Delete(ch.members, index, index+1)
	ch.metrics.connections.Dec()

	var gone []*stream
	for names, e := range ch.edges {
		if e.receiver == m || e.sender == m {
			gone = slices.AppendSeq(gone, maps.Values(e.streams))
			delete(ch.edges, names)
		}
	}
	removeStreams(gone, ch.log)
	ch.tellLeft(m)
	ch.reconcile()
}

// announce links a sender to all its receivers for the kinds that its answer
// says it sends.
func (ch *channel) announce(sender *member, sends []forwardingv1.Kind) {
	if !ch.has(sender) {
		return
	}
	sender.sends = kindsOf(sends...)
	for _, receiver := range ch.members {
		ch.link(receiver, sender)
	}
	ch.reconcile()
}

// link brings the streams of one edge to what both ends negotiated. It makes the
// edge only where it is live. What fails is the receiver's transport, so that the
// receiver has to go; the sender and the others know nothing of it.
func (ch *channel) link(receiver, sender *member) {
	if !forwardingv1.LiveEdge(receiver.connection, sender.connection) {
		return
	}
	names := pair{receiver: receiver.id(), sender: sender.id()}
	e := ch.edges[names]
	if e == nil {
		e = &edge{receiver: receiver, sender: sender, streams: make(map[forwardingv1.Kind]*stream)}
		ch.edges[names] = e
	}

	if err := e.negotiate(sender.sends&receiver.wants, ch.bound, ch.log); err != nil {
		ch.log.Error("dismissing a receiver that cannot be offered a stream", "connection", receiver.id(), "error", err)
		receiver.client.Close(signaling.CodeError, signaling.ReasonInternalError)
	}
}

// bound has the acknowledgement sent again when a stream was negotiated: it has
// an SSRC now.
func (ch *channel) bound() { ch.config.Changed(ch.id) }

// reconcile brings every edge to what table, time and members ask for, and
// returns when the fence has passed; then it tells receivers what changed for
// them, has report and acknowledgement sent, and arms the timer for the next
// change that time alone will bring.
func (ch *channel) reconcile() {
	if ch.closed {
		return
	}
	now := time.Now()
	effects, paused := newRoster(ch.connections()).effects(ch.table, now)

	hold := ch.holds(now)
	var changes []fanout.Change
	for names, e := range ch.edges {
		e.paused = paused[names]
		changes = e.appendChanges(changes, hold)
	}
	fanout.Apply(changes)

	ch.effects = effects
	for _, e := range ch.edges {
		e.tell(ch.id)
	}
	ch.arm(now)
	ch.config.Changed(ch.id)
}

// holds tells whether the media of all edges waits for the first table.
func (ch *channel) holds(now time.Time) bool {
	if ch.table != nil {
		return false
	}
	if now.Before(ch.waitEnds) {
		return true
	}
	if !ch.waitEnded {
		ch.waitEnded = true
		ch.metrics.withoutTable.WithLabelValues(string(ch.config.WithoutTable)).Inc()
		ch.log.Warn("no table arrived in time", "waited", ch.config.TableWait, "then", ch.config.WithoutTable)
	}

	return ch.config.WithoutTable == Hold
}

// acknowledge puts what the table does into words, each paused stream with the
// last sequence number that left. There must be a table.
func (ch *channel) acknowledge() *forwardingv1.Acknowledgement {
	acknowledgement := &forwardingv1.Acknowledgement{ChannelId: ch.id, Version: ch.table.GetVersion()}
	for _, effect := range ch.effects {
		pause := &forwardingv1.PauseAcknowledgement{
			Uid:        effect.pause.GetUid(),
			Generation: effect.pause.GetGeneration(),
		}
		for _, names := range effect.edges {
			pause.Edges = append(pause.Edges, &forwardingv1.EdgeAcknowledgement{
				RecvConnectionId: names.receiver,
				SendConnectionId: names.sender,
				Streams:          ch.edges[names].acknowledge(effect.pause.GetKinds()),
			})
		}
		acknowledgement.Pauses = append(acknowledgement.Pauses, pause)
	}

	return acknowledgement
}

// arm wakes the channel when the wait for a table ends or the next pause
// expires.
func (ch *channel) arm(now time.Time) {
	if ch.nextChange != nil {
		ch.nextChange.Stop()
		ch.nextChange = nil
	}

	next, ok := nextExpiry(ch.table, now)
	if ch.table == nil && now.Before(ch.waitEnds) {
		next, ok = ch.waitEnds, true
	}
	if !ok {
		return
	}
	ch.nextChange = time.AfterFunc(next.Sub(now), func() {
		ch.mu.Lock()
		defer ch.mu.Unlock()
		ch.reconcile()
	})
}

// close ends the channel's timer; nothing reconciles it any more.
func (ch *channel) close() {
	ch.closed = true
	if ch.nextChange != nil {
		ch.nextChange.Stop()
	}
	ch.config.Changed(ch.id)
}

func (ch *channel) has(m *member) bool { return slices.Contains(ch.members, m) }

func (ch *channel) connections() []*forwardingv1.Connection {
	connections := make([]*forwardingv1.Connection, len(ch.members))
	for i, m := range ch.members {
		connections[i] = m.connection
	}

	return connections
}
