package knowledge

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

var (
	// ErrInvalid is wrapped by what is said of a message that breaks the rules of the
	// protocol; its stream must end.
	ErrInvalid = errors.New("against the protocol")
	// ErrTooMany is wrapped when a bound on media servers is reached.
	ErrTooMany = errors.New("too many")
)

// mediaServer is one media server of a namespace, by its name.
type mediaServer struct {
	name         string
	introduction Introduction
	member       *forwardingv1.Member // as others are told of it; must not be changed
	draining     bool
	session      *Session  // nil: it has no stream
	began        time.Time // when its last stream began
	heard        time.Time // when its last stream ended
	// lostSince is when the last stream ended whose report was complete, or when the
	// first one began; zero once the present stream's report is complete.
	lostSince   time.Time
	complete    time.Time // when the present stream's report was complete; zero: not yet
	channels    map[string]*hosted
	connections int
	// connectionBytes is what the connections have on the wire.
	connectionBytes int
	states          int
	// untold: it hosts channels beyond the bounds, which nothing is known of.
	untold bool
	// told: watchers have been told of its loss.
	told bool
	// toldAnywhere: and that it may host any channel.
	toldAnywhere bool
	// known: it has reported everything once.
	known bool
}

// hosted is one channel as one media server hosts it.
type hosted struct {
	server  *mediaServer
	channel *channel
	session *Session // the one that reported it last
	refused string   // why nothing of it is taken; empty: it is

	instance, epoch uint64
	connections     map[string]*known
	connectionBytes int

	// What the instance does with pauses, by uid, as acknowledged for epoch.
	acknowledged      map[string]state
	acknowledgedEpoch uint64
	acknowledgedBy    *Session // that has said all of it; nil: none

	outbound
}

// known is a connection with the epoch at which it came to be known.
type known struct {
	*forwardingv1.Connection
	epoch uint64
}

// state is what a media server does with one pause.
type state struct {
	digest Digest
	state  forwardingv1.State
	// after is from the learning of the content to its acknowledgement; 0: unknown.
	after time.Duration
}

// inTouch tells that the media server's present stream reported the channel.
func (h *hosted) inTouch() bool { return h.session == h.server.session }

// lostSince is when the channel went out of touch; zero while it is in touch.
func (h *hosted) lostSince() time.Time {
	if h.inTouch() {
		return time.Time{}
	}

	return h.session.ended
}

// holds tells whether the present stream has a report to which a difference can
// be.
func (h *hosted) holds(s *Session) bool { return h.session == s && h.refused == "" }

// Connect makes a stream of the media server and replaces the one that there was.
// A media server that only said its name may have been restarted: what it said
// before counts again once it is reported. Of another incarnation, what was
// acknowledged counts for nothing.
func (t *Tenant) Connect(introduction Introduction, now time.Time) (*Session, error) {
	t.lockInTurn()
	defer t.unlock()
	name := introduction.Name
	server := t.servers[name]
	if server == nil {
		if len(t.servers) >= t.config.Limits.MediaServers {
			t.turnAway(name, now)

			return nil, fmt.Errorf("%w media servers in namespace %q: %d are known, which is the bound; "+
				"a name that is not used again is forgotten after %s",
				ErrTooMany, t.namespace, len(t.servers), t.config.MediaServerLost)
		}
		server = &mediaServer{name: name, introduction: introduction, channels: map[string]*hosted{}}
		t.servers[name] = server
		t.givenUp.remove(name)
		t.heardOf(name)
	}
	s := newSession(t, server)
	if older := server.session; older != nil {
		older.end(now)
		close(older.replaced)
	} else {
		t.streaming++
	}
	if server.lostSince.IsZero() {
		server.lostSince = now
	}
	server.session, server.began, server.complete = s, now, time.Time{}
	t.setUntold(server, false)
	if server.introduction.Incarnation != introduction.Incarnation {
		for _, h := range server.channels {
			t.forgetStates(h)
			h.instance = 0 // Another process counts anew.
		}
	}
	t.introduce(server, introduction)
	t.farewells.remove(podKey(introduction.holder()))
	t.goneOut(server)
	t.memberChanged(name)
	t.ringAll(server)

	return s, nil
}

// Close ends the stream, and notes the loss unless a newer one took over.
func (s *Session) Close(now time.Time) {
	t := s.tenant
	s.passing.Store(true)
	s.lock()
	defer t.unlock()
	if s.server.session != s {
		return
	}
	s.end(now)
	s.server.session, s.server.complete, s.server.heard = nil, time.Time{}, now
	t.streaming--
	t.memberChanged(s.server.name)
	t.setUntold(s.server, false)
	if s.farewell {
		t.farewells.note(podKey(s.server.introduction.holder()), now)
		t.forget(s.server, now)
		t.inTouchAgain(s.server)

		return
	}
	if s.server.lostSince.IsZero() {
		s.server.lostSince = now
	}
	t.goneOut(s.server)
	t.ringAll(s.server)
}

// Farewell takes that the media server ends: it hosts nothing any more, and the end
// of its stream is no loss.
func (s *Session) Farewell(now time.Time) {
	t := s.tenant
	s.lock()
	defer t.unlock()
	if s.server.session != s {
		return
	}
	s.farewell = true
	for _, h := range s.server.channels {
		t.leave(h, now)
	}
}

// Complete takes that everything has been reported: what earlier streams reported
// beyond it is gone.
func (s *Session) Complete(now time.Time) error {
	t := s.tenant
	s.lock()
	defer t.unlock()
	if s.server.session != s {
		return nil
	}
	if !s.server.complete.IsZero() {
		return fmt.Errorf("%w: ReportComplete came twice: send it once, after the first reports", ErrInvalid)
	}
	if len(s.reports) > 0 {
		return fmt.Errorf("%w: ReportComplete came between the parts of a report: send it after all of them", ErrInvalid)
	}
	s.server.complete, s.server.lostSince = now, time.Time{}
	for _, h := range s.server.channels {
		if h.session != s {
			t.leave(h, now)
		}
	}
	t.inTouchAgain(s.server)
	if !s.server.known {
		s.server.known = true
		// Pauses whose connections left while no manager listened are found only now.
		for e := range t.mentions[s.server.name] {
			t.notify(true, e)
		}
	}
	s.stateVersion()
	t.ringAll(s.server)

	return nil
}

// setUntold notes whether the media server hosts channels that nothing is known of.
func (t *Tenant) setUntold(server *mediaServer, untold bool) {
	if server.untold == untold {
		return
	}
	if server.untold = untold; untold {
		t.untold++
	} else {
		t.untold--
	}
	// All that is armed may not be, or may be again.
	t.notifyAll()
}

// leave ends the hosting of a channel: its connections are gone at the time given.
func (t *Tenant) leave(h *hosted, at time.Time) {
	for id := range h.connections {
		t.depart(h, id, at)
	}
	t.tell(h, func(e *entry) bool {
		// Nobody is there whom an armed pause concerned before.
		have := h.acknowledged[string(e.object.UID)]

		return h.server.told || e.lost || have.digest != e.digest || have.state != forwardingv1.State_STATE_NOT_MATCHING
	})
	t.forgetStates(h)
	delete(h.server.channels, h.channel.id)
	t.hosted--
	for i, other := range h.channel.hosts {
		if other == h {
			h.channel.hosts = append(h.channel.hosts[:i:i], h.channel.hosts[i+1:]...)
		}
	}
	h.gone = true
	t.bells.ring(channelBell(h.channel.id))
	t.release(h.channel)
}

// host begins the hosting of a channel.
func (t *Tenant) host(s *Session, channelID string) *hosted {
	c := t.channel(channelID)
	h := &hosted{
		server: s.server, channel: c, session: s, connections: map[string]*known{}, acknowledged: map[string]state{},
	}
	s.server.channels[channelID] = h
	t.hosted++
	c.hosts = append(c.hosts, h)

	return h
}

// depart notes that a connection has left.
func (t *Tenant) depart(h *hosted, id string, at time.Time) {
	before := h.connections[id]
	if before == nil {
		return
	}
	delete(h.connections, id)
	t.count(h, -1, -proto.Size(before.Connection))
	t.departed.note(id, at)
	t.presenceChanged(id)
}

// join notes that a connection is there.
func (t *Tenant) join(h *hosted, c *forwardingv1.Connection, epoch uint64) {
	if before := h.connections[c.GetConnectionId()]; before != nil {
		t.count(h, 0, proto.Size(c)-proto.Size(before.Connection))
	} else {
		t.count(h, 1, proto.Size(c))
	}
	t.share(c)
	h.connections[c.GetConnectionId()] = &known{c, epoch}
	t.departed.remove(c.GetConnectionId())
	t.presenceChanged(c.GetConnectionId())
}

// share keeps one copy of what the connection and the one that joined before have
// alike: most of a channel have the same session and codecs.
func (t *Tenant) share(c *forwardingv1.Connection) {
	before := t.joined
	t.joined = c
	if c.GetBundleId() == c.GetConnectionId() {
		c.BundleId = c.GetConnectionId()
	}
	if before == nil {
		return
	}
	if c.GetSessionId() == before.GetSessionId() {
		c.SessionId = before.GetSessionId()
	}
	if proto.Equal(c.GetAudio(), before.GetAudio()) {
		c.Audio = before.GetAudio()
	}
	if proto.Equal(c.GetVideo(), before.GetVideo()) {
		c.Video = before.GetVideo()
	}
}

// presenceChanged tells watchers of the pauses that wait for the connection to go.
func (t *Tenant) presenceChanged(connectionID string) {
	naming := t.naming[connectionID]
	for _, e := range naming {
		t.notify(len(naming) > many, e)
	}
}

// count counts connections that came or went, and what they have on the wire.
func (t *Tenant) count(h *hosted, connections, bytes int) {
	h.server.connections += connections
	t.connections += connections
	h.connectionBytes += bytes
	h.server.connectionBytes += bytes
	t.connectionBytes += bytes
}

// countStates counts states that came or went.
func (t *Tenant) countStates(server *mediaServer, states int) {
	server.states += states
	t.states += states
}

// forgetStates drops what was acknowledged: it ends with its instance.
func (t *Tenant) forgetStates(h *hosted) {
	t.countStates(h.server, -len(h.acknowledged))
	h.acknowledged, h.acknowledgedEpoch, h.acknowledgedBy = map[string]state{}, 0, nil
}

// tell tells watchers of those pauses of the channel that which picks.
func (t *Tenant) tell(h *hosted, which func(*entry) bool) {
	var picked []*entry
	for _, e := range h.channel.entries {
		if e.rule() && which(e) {
			picked = append(picked, e)
		}
	}
	t.notify(len(picked) > many || h.server.complete.IsZero() || h.session.passing.Load(), picked...)
}

// ringAll wakes those who wait for something of a channel that the media server
// hosts.
func (t *Tenant) ringAll(server *mediaServer) {
	for id := range server.channels {
		t.bells.ring(channelBell(id))
	}
}
