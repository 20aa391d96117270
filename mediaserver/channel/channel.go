package channel

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/codecs"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
	"github.com/nagi-rtc/nagi/mediaserver/media"
	"github.com/nagi-rtc/nagi/mediaserver/rtc"
	"github.com/nagi-rtc/nagi/mediaserver/signaling"
)

// channel is one channel of this media server: its members, the edges between
// them and the table in force. mu guards all of it; methods other than those of
// timers expect it to be held.
type channel struct {
	id string
	// instance counts the channels that the process has opened.
	instance uint64
	config   Config
	metrics  *metrics
	log      *slog.Logger

	mu      sync.Mutex
	members []*member // in the order of joining
	// profiles are the formats other than the codecs' default ones that anybody has come
	// to send.
	profiles []codecs.Format
	byID     map[string]*member
	matcher  *matching.Matcher
	closed   bool

	// epoch counts the changes of members, arrivals tells of the last ones.
	epoch    uint64
	arrivals history[arrival]
	// sequence counts the changes of what the table does, changes tells of the last
	// ones, by uid. It is 0 until the first table.
	sequence uint64
	changes  history[string]
	// version is that of the table applied last.
	version uint64

	// holding tells that the media of all edges waits for the first table, until
	// waitEnds at most.
	holding    bool
	waitEnds   time.Time
	waitEnded  bool
	nextChange *time.Timer
	// wall is the clock that pauses expire by.
	wall func() time.Time
	// focus is nil unless it is a spotlight channel.
	focus *focus
}

// arrival is somebody's coming or going.
type arrival struct {
	id   string
	left bool
}

func newChannel(id string, instance uint64, config Config, metrics *metrics, log *slog.Logger) *channel {
	return &channel{
		id:       id,
		instance: instance,
		config:   config,
		metrics:  metrics,
		log:      log,
		byID:     make(map[string]*member),
		matcher:  matching.New(),
		holding:  true,
		waitEnds: time.Now().Add(config.TableWait),
		wall:     time.Now,
	}
}

// maxProfiles leaves room for each codec's default among the formats that a session has
// payload types for, which stay taken when their senders go. So nobody keeps another's
// video from a receiver by coming with one odd profile after the other.
const maxProfiles = 11

// admits tells whether the channel has room for what a newcomer sends, and keeps it.
func (ch *channel) admits(formats map[media.Kind]codecs.Format) bool {
	for _, format := range formats {
		if format.Default() || slices.Contains(ch.profiles, format) {
			continue
		}
		if len(ch.profiles) == maxProfiles {
			return false
		}
		ch.profiles = append(ch.profiles, format)
	}

	return true
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

// finishStep returns when the step under way, if any, is done.
func (ch *channel) finishStep() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
}

// add lets a member in: its edges from everybody who sends already are made, so
// that the first offer carries them, and all of it is reported.
func (ch *channel) add(m *member) {
	ch.members = append(ch.members, m)
	ch.byID[m.id()] = m
	ch.metrics.connections.Inc()
	ch.listen(m)
	ch.note(arrival{id: m.id()})
	changes := ch.matcher.Join(m.connection)
	for _, sender := range ch.members {
		ch.link(m, sender)
	}
	if !ch.step(changes) {
		ch.config.Changed(ch.id)
	}
}

// remove takes members out with all their edges, all of them in one step. The
// edges of others with them leave those others' offers too.
func (ch *channel) remove(gone ...*member) {
	gone = slices.DeleteFunc(gone, func(m *member) bool { return !ch.has(m) })
	if len(gone) == 0 {
		return
	}
	var (
		streams []*stream
		changes matching.Changes
	)
	for _, m := range gone {
		delete(ch.byID, m.id())
		m.supply.end()
		ch.metrics.connections.Dec()
		ch.note(arrival{id: m.id(), left: true})
		for _, e := range m.edges() {
			streams = slices.AppendSeq(streams, maps.Values(e.streams))
			delete(e.receiver.incoming, e.sender)
			delete(e.sender.outgoing, e.receiver)
		}
		changes.Pauses = append(changes.Pauses, ch.matcher.Leave(m.id()).Pauses...)
	}
	ch.members = slices.DeleteFunc(ch.members, func(m *member) bool { return !ch.has(m) })
	ch.unlisten(gone)
	removeStreams(streams, ch.log)
	for _, m := range gone {
		ch.tellLeft(m)
	}
	ch.refocus() // Somebody may have the place of one who is gone.
	if !ch.step(changes) {
		ch.config.Changed(ch.id)
	}
}

// note counts a change of members.
func (ch *channel) note(a arrival) {
	ch.epoch++
	ch.arrivals.add(ch.epoch, a, 2*len(ch.members))
}

// announce links a sender to all its receivers for the kinds that its answer
// says it sends. Nearly all answers are to what others do, and say what the one
// before said.
func (ch *channel) announce(sender *member, sends []media.Kind) {
	kinds := kindsOf(sends...)
	if !ch.has(sender) || sender.announced && sender.sends == kinds {
		return
	}
	sender.announced, sender.sends = true, kinds
	for _, receiver := range ch.members {
		ch.link(receiver, sender)
	}
}

// reject ends the streams that a receiver has rejected the codec of, and tells it.
// Pauses go on matching its edges.
func (ch *channel) reject(receiver *member, rejected []codecs.Format) {
	if len(rejected) == 0 {
		return
	}
	for _, e := range receiver.incoming {
		e.reject(rejected, ch.log)
		e.tell(ch.id)
	}
}

// refuse withholds the streams that a receiver's last answer does not receive, and tells it
// so. They stay, and so do their pauses: once a later answer receives them again they go on.
func (ch *channel) refuse(receiver *member, refused, again []*rtc.Downlink) {
	var edges []*edge
	for i, downlink := range slices.Concat(refused, again) {
		if e := receiver.incoming[ch.byID[downlink.StreamID()]]; e != nil {
			e.refuse(downlink, i >= len(refused), ch.log)
			edges = append(edges, e)
		}
	}
	fence(append(ch.divideAmong(edges, time.Now()), edges...), ch.holding)
	for _, e := range edges {
		e.tell(ch.id)
	}
}

// link brings the streams of one edge to what both ends negotiated. It makes the
// edge only where it is live, and only once the sender has said what it sends:
// before that there is nothing to withhold. A new stream is born with what is in
// force, so no packet precedes that. What fails is the receiver's transport, so
// that the receiver has to go; the sender and the others know nothing of it.
func (ch *channel) link(receiver, sender *member) {
	if !sender.announced || !forwardingv1.LiveEdge(receiver.connection, sender.connection) {
		return
	}
	e := receiver.incoming[sender]
	if e == nil {
		e = &edge{receiver: receiver, sender: sender, streams: make(map[media.Kind]*stream)}
		e.withheld = ch.matcher.Watch(e.names())
		receiver.incoming[sender], sender.outgoing[receiver] = e, e
	}

	if err := e.negotiate(sender.sends&receiver.wants, ch.holds(time.Now()), ch.log); err != nil {
		ch.log.Error("dismissing a receiver that cannot be offered a stream", "connection", receiver.id(), "error", err)
		receiver.client.Close(signaling.CodeError, signaling.ReasonInternalError)
	}
	if receiver.supply.isDivided() {
		fence(ch.divide(receiver, time.Now()), ch.holding)
	}
	e.tell(ch.id)
}

// dismiss closes connections from the outside and returns when they are out of the
// channel: no packet comes from them or goes to them any more.
func (ch *channel) dismiss(members []*member) {
	for _, m := range members {
		ch.log.Info("connection dismissed", "connection", m.id())
		m.client.Close(signaling.CodeNormal, signaling.ReasonDisconnectedAPI)
	}
	ch.remove(members...)
}

// close ends the channel's timer; nothing changes it any more.
func (ch *channel) close() {
	ch.closed = true
	if ch.nextChange != nil {
		ch.nextChange.Stop()
	}
	ch.closeFocus()
}

func (ch *channel) has(m *member) bool { return ch.byID[m.id()] == m }
