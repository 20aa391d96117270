package matching

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// poison takes away from a Matcher all connections and pauses but those that a step
// is about and the open-side pauses, which may concern anybody. A step that looks at
// any of the others meets nil, and panics.
func (m *Matcher) poison(spared func(id string) bool) (members, rules int) {
	for id, who := range m.roster.byID {
		if spared(id) {
			continue
		}
		m.roster.byID[id], m.roster.byClient[who.client] = nil, []*member{nil}
		members++
	}
	for uid, r := range m.rules {
		if r.receivers.form == open || r.senders.form == open {
			continue
		}
		m.rules[uid] = nil
		rules++
	}
	for _, index := range []*index{&m.receivers, &m.senders} {
		for _, listed := range []map[string][]*rule{index.byConnection, index.byClient} {
			for _, list := range listed {
				for i, r := range list {
					if r.receivers.form != open && r.senders.form != open {
						list[i] = nil
					}
				}
			}
		}
	}

	return members, rules
}

// TestAStepLooksAtNothingElse: in a channel of 10,000 with 20,000 pauses of an edge
// each and 50 with an open side, whoever joins, sets, edits or removes a pause, or
// leaves, has no connection looked at, and no pause, that the step is not about.
func TestAStepLooksAtNothingElse(t *testing.T) {
	const connections, senders, edges = 10_000, 100, 20_000
	noon := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	id := func(i int) string { return fmt.Sprint("c", i) }
	client := func(i int) string { return fmt.Sprint("client ", i) }
	connection := func(i int) *forwardingv1.Connection {
		role := forwardingv1.Role_ROLE_RECVONLY
		if i < senders || i == connections {
			role = forwardingv1.Role_ROLE_SENDRECV
		}

		return &forwardingv1.Connection{ConnectionId: id(i), ClientId: client(i), Role: role}
	}
	byConnection := func(i int) *forwardingv1.Side {
		return &forwardingv1.Side{Names: &forwardingv1.Side_ConnectionIds{
			ConnectionIds: &forwardingv1.IDs{Ids: []string{id(i)}},
		}}
	}
	byClient := func(i int) *forwardingv1.Side {
		return &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{
			ClientIds: &forwardingv1.IDs{Ids: []string{client(i)}},
		}}
	}
	allBut := func(i int) *forwardingv1.Side {
		return &forwardingv1.Side{Names: &forwardingv1.Side_EveryoneExcept{
			EveryoneExcept: &forwardingv1.EveryoneExcept{ClientIds: []string{client(i)}},
		}}
	}
	pause := func(uid string, receivers, senders *forwardingv1.Side) *forwardingv1.Pause {
		return &forwardingv1.Pause{Uid: uid, Kinds: []forwardingv1.Kind{forwardingv1.Kind_KIND_VIDEO},
			Receivers: receivers, Senders: senders, CreatedTime: timestamppb.New(noon)}
	}

	m := New()
	for i := range connections {
		m.Join(connection(i))
	}
	var pauses []*forwardingv1.Pause
	for i := range edges {
		receiver, sender := senders+i%(connections-senders), i%senders
		if pauses = append(pauses, pause(fmt.Sprint(i), byConnection(receiver), byConnection(sender))); i%2 == 1 {
			pauses[i].Receivers, pauses[i].Senders = byClient(receiver), byClient(sender)
		}
	}
	for i := range 25 {
		pauses = append(pauses, pause(fmt.Sprint("open ", i), allBut(0), byClient(i)),
			pause(fmt.Sprint("wall ", i), byClient(senders+i), allBut(i)))
	}
	m.Apply(pauses, nil, noon)
	members, rules := m.poison(func(who string) bool {
		for i := range senders {
			if who == id(i) {
				return true
			}
		}

		return false
	})
	if members != connections-senders || rules != edges {
		t.Fatalf("%d connections and %d pauses are out of the way", members, rules)
	}

	const newcomer = connections
	m.Join(connection(newcomer))
	withheld := 0
	for sender := range senders {
		if m.Watch(Edge{Receiver: id(newcomer), Sender: id(sender)}).Kinds() != 0 {
			withheld++
		}
	}
	if withheld != 25 {
		t.Errorf("the newcomer is withheld %d senders, want 25", withheld)
	}
	for _, sides := range [][2]*forwardingv1.Side{
		{byConnection(newcomer), byConnection(7)}, {byClient(newcomer), byClient(7)},
		{allBut(0), byClient(7)}, {byClient(newcomer), allBut(0)},
	} {
		m.Apply([]*forwardingv1.Pause{pause("one", sides[0], sides[1])}, nil, noon)
		if state := m.State("one").GetState(); state != forwardingv1.State_STATE_MATCHING {
			t.Errorf("the pause %v is %v", sides, state)
		}
		m.Advance(noon.Add(time.Second))
	}
	m.Apply(nil, []string{"one"}, noon)
	m.Leave(id(newcomer))
}
