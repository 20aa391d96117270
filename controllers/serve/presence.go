package serve

import (
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// presence is what the media servers of one namespace have said: who hosts which
// connections, and what is acknowledged. It lives in memory only, since media
// servers say everything again to a replica that begins anew.
type presence struct {
	changed func(channelID string)     // called without the lock
	learned func(uid string) time.Time // when a pause's generation came to be known; zero: before this replica began

	mu           sync.Mutex
	mediaServers map[string]*mediaServer
	channels     map[string]map[*mediaServer]*hosted
	departed     map[string]time.Time // by connection id
}

type mediaServer struct {
	name   string
	stream *stream // nil: out of touch
	// lostSince is when the last stream ended whose report was complete; what the
	// present one has not reported again is out of touch since then. Zero once its
	// report is complete.
	lostSince time.Time
	complete  time.Time // when the present stream's report was complete; zero: not yet
}

type hosted struct {
	connections      []*forwardingv1.Connection
	reportedBy       *stream
	acknowledgements map[string]acknowledged // by uid
}

type acknowledged struct {
	pause *forwardingv1.PauseAcknowledgement
	after time.Duration
}

// inTouch tells that the media server's present stream reported the channel.
func (h *hosted) inTouch(server *mediaServer) bool {
	return server.stream != nil && h.reportedBy == server.stream
}

func newPresence(changed func(string), learned func(string) time.Time) *presence {
	return &presence{
		changed: changed, learned: learned,
		mediaServers: map[string]*mediaServer{},
		channels:     map[string]map[*mediaServer]*hosted{},
		departed:     map[string]time.Time{},
	}
}

// connect makes s the stream of its media server and returns the stream that it
// replaces; nil when there is none. A media server that only said its name may
// have been restarted: what it said before counts again once it is reported.
func (p *presence) connect(s *stream, now time.Time) *stream {
	p.mu.Lock()
	server := p.mediaServers[s.mediaServer]
	if server == nil {
		server = &mediaServer{name: s.mediaServer}
		p.mediaServers[s.mediaServer] = server
	}
	older := server.stream
	if older != nil && server.lostSince.IsZero() {
		server.lostSince = now
	}
	server.stream, server.complete = s, time.Time{}
	channels := p.hostedBy(server)
	p.mu.Unlock()
	p.allChanged(channels)

	return older
}

// disconnect notes the loss, unless a newer stream took over.
func (p *presence) disconnect(s *stream, now time.Time) {
	p.mu.Lock()
	server := p.mediaServers[s.mediaServer]
	if server == nil || server.stream != s {
		p.mu.Unlock()

		return
	}
	if server.stream, server.complete = nil, (time.Time{}); server.lostSince.IsZero() || p.reportedAny(s) {
		server.lostSince = now
	}
	channels := p.hostedBy(server)
	p.mu.Unlock()
	p.allChanged(channels)
}

// report replaces what the media server said of the channel. It does nothing for
// a stream that was replaced.
func (p *presence) report(s *stream, report *forwardingv1.ChannelReport, now time.Time) {
	p.mu.Lock()
	server := p.mediaServers[s.mediaServer]
	if server == nil || server.stream != s {
		p.mu.Unlock()

		return
	}
	p.replace(server, report.GetChannelId(), report.GetConnections(), now)
	p.mu.Unlock()
	p.changed(report.GetChannelId())
}

// replace keeps acknowledgements: they name connections by ids that are never
// used again, and a media server without a manager keeps its tables.
func (p *presence) replace(server *mediaServer, channelID string, connections []*forwardingv1.Connection, now time.Time) {
	before := p.channels[channelID][server]
	var gone []*forwardingv1.Connection
	if before != nil {
		gone = before.connections
	}
	if len(connections) == 0 {
		delete(p.channels[channelID], server)
		if len(p.channels[channelID]) == 0 {
			delete(p.channels, channelID)
		}
	} else {
		if before == nil {
			before = &hosted{acknowledgements: map[string]acknowledged{}}
			if p.channels[channelID] == nil {
				p.channels[channelID] = map[*mediaServer]*hosted{}
			}
			p.channels[channelID][server] = before
		}
		before.connections, before.reportedBy = connections, server.stream
	}
	for _, c := range gone {
		p.departed[c.GetConnectionId()] = now
	}
	for _, c := range connections {
		delete(p.departed, c.GetConnectionId())
	}
}

// complete drops what earlier streams reported beyond the stream's reports.
func (p *presence) complete(s *stream, now time.Time) {
	p.mu.Lock()
	server := p.mediaServers[s.mediaServer]
	if server == nil || server.stream != s {
		p.mu.Unlock()

		return
	}
	server.complete, server.lostSince = now, time.Time{}
	channels := p.hostedBy(server)
	for _, channelID := range channels {
		if p.channels[channelID][server].reportedBy != s {
			p.replace(server, channelID, nil, now)
		}
	}
	p.mu.Unlock()
	p.allChanged(channels)
	// Pauses whose connections left while nobody listened are found only now.
	p.changed("")
}

// acknowledge replaces what the media server enforces in the channel and returns
// how long after learning of it each pause was acknowledged for the first time.
// An acknowledgement of a channel that is hosted no longer is late, not wrong.
func (p *presence) acknowledge(s *stream, a *forwardingv1.Acknowledgement, now time.Time) []time.Duration {
	p.mu.Lock()
	server := p.mediaServers[s.mediaServer]
	h := p.channels[a.GetChannelId()][server]
	if server == nil || server.stream != s || h == nil {
		p.mu.Unlock()

		return nil
	}
	var latencies []time.Duration
	next := make(map[string]acknowledged, len(a.GetPauses()))
	same := len(a.GetPauses()) == len(h.acknowledgements)
	for _, pause := range a.GetPauses() {
		before, known := h.acknowledgements[pause.GetUid()]
		entry := acknowledged{pause: pause, after: before.after}
		if !known || before.pause.GetGeneration() != pause.GetGeneration() {
			entry.after = 0
			if learned := p.learned(pause.GetUid()); !learned.IsZero() {
				entry.after = now.Sub(learned)
				latencies = append(latencies, entry.after)
			}
		}
		same = same && known && proto.Equal(before.pause, pause)
		next[pause.GetUid()] = entry
	}
	h.acknowledgements = next
	p.mu.Unlock()
	if !same {
		p.changed(a.GetChannelId())
	}

	return latencies
}

// forget counts the connections of media servers lost since before the time
// given as gone, and drops departures noted before it.
func (p *presence) forget(now time.Time, after time.Duration) {
	p.mu.Lock()
	var channels []string
	removed := false
	for name, server := range p.mediaServers {
		if server.lostSince.IsZero() || now.Sub(server.lostSince) < after {
			continue
		}
		for _, channelID := range p.hostedBy(server) {
			if !p.channels[channelID][server].inTouch(server) {
				p.replace(server, channelID, nil, server.lostSince.Add(after))
				channels = append(channels, channelID)
			}
		}
		if server.stream == nil {
			delete(p.mediaServers, name)
			removed = true
		}
	}
	maps.DeleteFunc(p.departed, func(_ string, at time.Time) bool { return now.Sub(at) > after+departuresKept })
	p.mu.Unlock()
	p.allChanged(channels)
	if removed {
		// A status may name it whose connections no replica has seen here.
		p.changed("")
	}
}

// reportedAny tells whether a channel is known from the stream.
func (p *presence) reportedAny(s *stream) bool {
	for _, servers := range p.channels {
		for _, h := range servers {
			if h.reportedBy == s {
				return true
			}
		}
	}

	return false
}

func (p *presence) hostedBy(server *mediaServer) []string {
	var channels []string
	for channelID, servers := range p.channels {
		if servers[server] != nil {
			channels = append(channels, channelID)
		}
	}

	return channels
}

func (p *presence) allChanged(channels []string) {
	for _, channelID := range channels {
		p.changed(channelID)
	}
}

// of returns what each media server said of the channel and the pause, ordered
// by name. The connections must not be changed.
func (p *presence) of(channelID, uid string) []tables.MediaServer {
	p.mu.Lock()
	defer p.mu.Unlock()
	var result []tables.MediaServer
	for server, h := range p.channels[channelID] {
		entry := h.acknowledgements[uid]
		var lostSince time.Time
		if !h.inTouch(server) {
			lostSince = server.lostSince
		}
		result = append(result, tables.MediaServer{
			Name: server.name, LostSince: lostSince, Connections: h.connections,
			Acknowledgement: entry.pause, AcknowledgedAfter: entry.after,
		})
	}
	slices.SortFunc(result, func(a, b tables.MediaServer) int { return compare(a.Name, b.Name) })

	return result
}

func (p *presence) departure(connectionID string) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.departed[connectionID]

	return at, ok
}

// completeSince returns when the media server's present report was complete, and
// whether anything is known of it.
func (p *presence) completeSince(name string) (at time.Time, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	server := p.mediaServers[name]
	if server == nil {
		return time.Time{}, false
	}

	return server.complete, true
}

// streaming counts the media servers in touch.
func (p *presence) streaming() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, server := range p.mediaServers {
		if server.stream != nil {
			n++
		}
	}

	return n
}
