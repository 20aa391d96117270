//go:build linux

package main

import (
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

// instance is that of every simulated channel: none ends.
const instance = 1

// simulatedChannel is a channel without media: its members only join, and its
// pauses are matched as a media server matches them.
type simulatedChannel struct {
	id      string
	changed func(channelID string)
	applied func(before, after int, set []*forwardingv1.Pause, removed []string)

	mu      sync.Mutex
	members []*forwardingv1.Connection // The epoch is their number.
	byID    map[string]*forwardingv1.Connection
	matcher *matching.Matcher
	version uint64
	// told is what changed, by sequence from 1.
	told []string
}

func newSimulatedChannel(id string, connections []*forwardingv1.Connection) *simulatedChannel {
	c := &simulatedChannel{id: id, matcher: matching.New(), byID: map[string]*forwardingv1.Connection{}}
	for _, connection := range connections {
		c.add(connection)
	}

	return c
}

func (c *simulatedChannel) add(connection *forwardingv1.Connection) {
	c.members = append(c.members, connection)
	c.byID[connection.GetConnectionId()] = connection
	c.told = append(c.told, c.matcher.Join(connection).Pauses...)
}

// connection is the id of the member that joined as so many-th.
func (c *simulatedChannel) connection(i int) string {
	c.mu.Lock()
	defer c.mu.Unlock()

	return c.members[i].GetConnectionId()
}

func (c *simulatedChannel) client(i int) string {
	c.mu.Lock()
	defer c.mu.Unlock()

	return c.members[i].GetClientId()
}

// join lets one more receiver in and returns its connection id once its edges from
// everybody who sends are known to be withheld or not.
func (c *simulatedChannel) join() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	newcomer := newConnection(c.id, len(c.members), forwardingv1.Role_ROLE_RECVONLY)
	c.add(newcomer)
	for _, sender := range c.members {
		edge := matching.Edge{Receiver: newcomer.GetConnectionId(), Sender: sender.GetConnectionId()}
		if !forwardingv1.LiveEdge(newcomer, sender) {
			continue
		}
		if c.matcher.Watch(edge).Kinds() == 0 {
			return "", fmt.Errorf("the newcomer's edge from %s is not withheld", sender.GetConnectionId())
		}
	}
	c.changed(c.id)

	return newcomer.GetConnectionId(), nil
}

func newConnection(channelID string, i int, role forwardingv1.Role) *forwardingv1.Connection {
	return &forwardingv1.Connection{
		ConnectionId: fmt.Sprintf("%s-%d", channelID, i), ClientId: fmt.Sprintf("client-%s-%d", channelID, i),
		BundleId: fmt.Sprintf("%s-%d", channelID, i), SessionId: "session", Role: role, CreatedTime: timestamppb.Now(),
		Audio: &forwardingv1.AudioCodec{CodecType: "OPUS"}, Video: &forwardingv1.VideoCodec{CodecType: "VP8"},
	}
}

func (c *simulatedChannel) membership(of, since uint64) tables.Membership {
	c.mu.Lock()
	defer c.mu.Unlock()
	epoch := uint64(len(c.members))
	if of != instance || since > epoch {
		since = 0
	}

	return tables.Membership{Instance: instance, Epoch: epoch, Base: since, Joined: c.members[since:epoch:epoch]}
}

func (c *simulatedChannel) apply(table tables.Table) {
	c.mu.Lock()
	before := c.matcher.Len()
	removed := table.Removed
	if table.Whole {
		kept := map[string]bool{}
		for _, pause := range table.Set {
			kept[pause.GetUid()] = true
		}
		for uid := range c.matcher.Uids() {
			if !kept[uid] {
				removed = append(removed, uid)
			}
		}
	}
	c.told = append(c.told, c.matcher.Apply(table.Set, removed, time.Now()).Pauses...)
	c.version = table.Version
	after := c.matcher.Len()
	c.mu.Unlock()
	c.applied(before, after, table.Set, removed)
	c.changed(c.id)
}

func (c *simulatedChannel) states(of, since uint64) tables.States {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == 0 {
		return tables.States{}
	}
	// The first sequence is that of an empty first table.
	sequence := uint64(len(c.told)) + 1
	s := tables.States{Instance: instance, Epoch: uint64(len(c.members)), Version: c.version, Sequence: sequence}
	if of != instance || since == 0 || since > sequence {
		s.Whole = true
		for uid := range c.matcher.Uids() {
			s.Set = append(s.Set, c.matcher.State(uid))
		}

		return s
	}
	seen := map[string]bool{}
	for _, uid := range c.told[since-1:] {
		if seen[uid] {
			continue
		}
		seen[uid] = true
		if state := c.matcher.State(uid); state != nil {
			s.Set = append(s.Set, state)
		} else {
			s.Removed = append(s.Removed, uid)
		}
	}

	return s
}

// ask answers with as much as a media server would.
func (c *simulatedChannel) ask(question *forwardingv1.Question) *forwardingv1.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var edges []matching.Edge
	answer := &forwardingv1.Answer{QuestionId: question.GetId()}
	switch asks := question.GetAsks().(type) {
	case *forwardingv1.Question_Withheld:
		edges, answer.Count = c.matcher.Survey(asks.Withheld.GetKind()).Withheld(int(asks.Withheld.GetLimit()))
		if asks.Withheld.GetByReceiver() {
			answer.Receivers = c.byReceiver(edges)

			return answer
		}
	case *forwardingv1.Question_Pause:
		edges, answer.Count = c.matcher.Edges(asks.Pause.GetUid(), int(asks.Pause.GetLimit()))
	case *forwardingv1.Question_Edge:
		if edge := (matching.Edge{
			Receiver: asks.Edge.GetRecvConnectionId(), Sender: asks.Edge.GetSendConnectionId(),
		}); c.matcher.Live(edge) {
			edges, answer.Count = []matching.Edge{edge}, 1
		}
	default:
		answer.Error = "a simulated channel dismisses nobody"
	}
	for i, edge := range edges {
		last := uint32(i) & 0xFFFF //nolint:gosec // Masked.
		told := &forwardingv1.Edge{
			RecvConnectionId: edge.Receiver, SendConnectionId: edge.Sender, RecvRole: c.byID[edge.Receiver].GetRole(),
			Streams: []*forwardingv1.Stream{{Kind: forwardingv1.Kind_KIND_VIDEO, Ssrc: last + 1, LastSequenceNumber: &last}},
		}
		pauses := c.matcher.Matching(edge)
		if question.GetEdge() == nil {
			pauses = pauses[:min(len(pauses), forwardingv1.MaxPausesTold)]
		}
		for _, pause := range pauses {
			told.PauseUids = append(told.PauseUids, pause.GetUid())
			told.Streams[0].Withheld = []forwardingv1.Withheld{forwardingv1.Withheld_WITHHELD_PAUSED}
		}
		answer.Edges = append(answer.Edges, told)
	}

	return answer
}

// byReceiver puts the edges, which are in the order of their receivers, together.
func (c *simulatedChannel) byReceiver(edges []matching.Edge) []*forwardingv1.ReceiverEdges {
	var receivers []*forwardingv1.ReceiverEdges
	last := &forwardingv1.ReceiverEdges{}
	for _, edge := range edges {
		if last.GetRecvConnectionId() != edge.Receiver {
			last = &forwardingv1.ReceiverEdges{RecvConnectionId: edge.Receiver, RecvRole: c.byID[edge.Receiver].GetRole()}
			receivers = append(receivers, last)
		}
		last.SendConnectionIds = append(last.SendConnectionIds, edge.Sender)
	}

	return receivers
}
