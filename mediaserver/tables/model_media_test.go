package tables

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing/synctest"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// What the model's replicas were told is held against packets: at every moment, also
// while a fence takes long, what flows is what no acknowledged pause withholds.

// beat is how long an action is followed for.
const beat = time.Millisecond

// sightings count what the judge has seen, so that a run in which nothing could be
// seen does not pass.
type sightings struct {
	// flowing and withheld are flows, at the times of a look at them; lingering are
	// fences that a look fell into.
	flowing, withheld, lingering int
}

func (s *sightings) add(more sightings) {
	s.flowing += more.flowing
	s.withheld += more.withheld
	s.lingering += more.lingering
}

// modelPause draws sides and kinds from its revision, so that edits change what
// matches: mostly one edge or two.
func modelPause(uid string, revision byte) *forwardingv1.Pause {
	random := rand.New(rand.NewPCG(uint64(revision), 0))
	connection := func() string { return fmt.Sprint("c", random.IntN(3)) }
	side := func() *forwardingv1.Side {
		switch random.IntN(8) {
		case 0:
			return &forwardingv1.Side{Names: &forwardingv1.Side_Everyone{Everyone: &forwardingv1.Everyone{}}}
		case 1:
			return &forwardingv1.Side{Names: &forwardingv1.Side_EveryoneExcept{
				EveryoneExcept: &forwardingv1.EveryoneExcept{ClientIds: []string{clientOf(connection())}},
			}}
		case 2, 3:
			return &forwardingv1.Side{Names: &forwardingv1.Side_ClientIds{
				ClientIds: &forwardingv1.IDs{Ids: []string{clientOf(connection()), clientOf("another")}},
			}}
		case 4:
			return &forwardingv1.Side{} // Of a later version: it names nobody.
		default:
			return &forwardingv1.Side{Names: &forwardingv1.Side_ConnectionIds{
				ConnectionIds: &forwardingv1.IDs{Ids: []string{connection()}},
			}}
		}
	}
	p := pause(uid, revision)
	p.Receivers, p.Senders = side(), side()
	p.Kinds = [][]forwardingv1.Kind{
		{forwardingv1.Kind_KIND_VIDEO}, {forwardingv1.Kind_KIND_AUDIO},
		{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO},
	}[random.IntN(3)]

	return p
}

// withholds tells whether a pause withholds a flow, by its words alone.
func withholds(p *forwardingv1.Pause, f flow) bool {
	names := func(side *forwardingv1.Side, id string) bool {
		switch names := side.GetNames().(type) {
		case *forwardingv1.Side_Everyone:
			return true
		case *forwardingv1.Side_EveryoneExcept:
			return !slices.Contains(names.EveryoneExcept.GetClientIds(), clientOf(id))
		case *forwardingv1.Side_ClientIds:
			return slices.Contains(names.ClientIds.GetIds(), clientOf(id))
		default:
			return slices.Contains(side.GetConnectionIds().GetIds(), id)
		}
	}

	return p.GetReceivers().GetNames() != nil && p.GetSenders().GetNames() != nil &&
		slices.Contains(p.GetKinds(), kinds[f.kind]) &&
		names(p.GetReceivers(), f.Receiver) && names(p.GetSenders(), f.Sender)
}

// apply lets the fence take its time.
func (m *model) apply(Table) {
	if fence := m.fence.Load(); fence > 0 {
		m.lingering.Add(1)
		time.Sleep(time.Duration(fence))
		m.lingering.Add(-1)
	}
}

// judge waits until nothing moves, has everybody send, and holds what arrives against
// what each replica was told.
func (m *model) judge() {
	synctest.Wait()
	m.seen.lingering += int(m.lingering.Load())
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	for id, h := range m.host.hosted {
		late := h.arrived()
		payload := h.send()
		arrived := h.arrived()
		for f := range late {
			if m.members(h)[f.Receiver] == nil || m.members(h)[f.Sender] == nil {
				m.problem("%s: %v left of %v, one end of which had left", id, late[f], f)
			}
		}
		for i, r := range m.replicas {
			told := r.told(id, h.instance)
			if told == nil && h.holds {
				continue // It does not hear now, and is promised nothing.
			}
			m.compareStates(id, i, h, told)
			pauses := told.pauses()
			for f := range m.flows(h) {
				paused := told == nil ||
					slices.ContainsFunc(pauses, func(p *forwardingv1.Pause) bool { return withholds(p, f) })
				switch {
				case paused && len(arrived[f])+len(late[f]) > 0:
					m.problem("%s: replica %d was told %v, and %v, %v of %v left", id, i, told, late[f], arrived[f], f)
				case !paused && !slices.Contains(arrived[f], payload):
					m.problem("%s: replica %d was told %v, and of %v only %v left", id, i, told, f, arrived[f])
				}
				if paused {
					m.seen.withheld++
				} else {
					m.seen.flowing++
				}
			}
		}
	}
}

func (m *model) members(h *hosted) map[string]*forwardingv1.Connection { return h.members[h.epoch-1] }

// flows are all that can flow between those who are there.
func (m *model) flows(h *hosted) map[flow]struct{} {
	flows := make(map[flow]struct{})
	for receiver := range m.members(h) {
		for sender := range m.members(h) {
			for kind := range kinds {
				if receiver != sender {
					f := flow{kind: kind}
					f.Receiver, f.Sender = receiver, sender
					flows[f] = struct{}{}
				}
			}
		}
	}

	return flows
}

// compareStates holds the states that a replica was told against the words of the pauses.
func (m *model) compareStates(id string, i int, h *hosted, told acknowledged) {
	for p, state := range told {
		want := forwardingv1.State_STATE_NOT_MATCHING
		if p.GetReceivers().GetNames() == nil || p.GetSenders().GetNames() == nil {
			want = forwardingv1.State_STATE_NOT_UNDERSTOOD
		}
		for f := range m.flows(h) {
			if withholds(p, f) {
				want = forwardingv1.State_STATE_MATCHING
			}
		}
		if state != want {
			m.problem("%s: replica %d was told that %v is %v, want %v", id, i, p, state, want)
		}
	}
}

// acknowledged is what a replica was told of an instance's pauses.
type acknowledged map[*forwardingv1.Pause]forwardingv1.State

// pauses are those in force, whether or not they match anybody: they do so for whoever
// joins.
func (a acknowledged) pauses() []*forwardingv1.Pause {
	var pauses []*forwardingv1.Pause
	for p, state := range a {
		if state == forwardingv1.State_STATE_MATCHING || state == forwardingv1.State_STATE_NOT_MATCHING {
			pauses = append(pauses, p)
		}
	}

	return pauses
}

// told is nil where the replica was told nothing of the instance, or does not hear.
func (r *modelReplica) told(id string, instance uint64) acknowledged {
	r.model.mu.Lock()
	s := r.session
	r.model.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.ledger.channels[id]
	if s.ended || e == nil || e.instance != instance || !e.acknowledged {
		return nil
	}
	told := make(acknowledged)
	for uid, state := range e.states {
		told[modelPause(uid, state.GetDigest()[0])] = state.GetState()
	}

	return told
}
