package matching

import (
	"slices"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// form is how a side names connections.
type form uint8

const (
	// nobody: the side has no member that this build knows.
	nobody form = iota
	// byConnection and byClient: it lists ids.
	byConnection
	byClient
	// open: it names everybody but those whose ids it lists.
	open
)

// side is one side of a pause. It never changes.
type side struct {
	form form
	// connections and clients are sorted: those that are named, or, of an open
	// side, those that are not.
	connections, clients []string
}

// newSide reads a side. One that names nothing (a member unknown here, or a list
// from which everything is unknown) is nobody, never everybody: a rule that is
// not understood must not act on those whom it spares.
func newSide(s *forwardingv1.Side) side {
	switch names := s.GetNames().(type) {
	case *forwardingv1.Side_ConnectionIds:
		if ids := sortedSet(names.ConnectionIds.GetIds()); len(ids) > 0 {
			return side{form: byConnection, connections: ids}
		}
	case *forwardingv1.Side_ClientIds:
		if ids := sortedSet(names.ClientIds.GetIds()); len(ids) > 0 {
			return side{form: byClient, clients: ids}
		}
	case *forwardingv1.Side_Everyone:
		return side{form: open}
	case *forwardingv1.Side_EveryoneExcept:
		s := side{
			form:        open,
			connections: sortedSet(names.EveryoneExcept.GetConnectionIds()),
			clients:     sortedSet(names.EveryoneExcept.GetClientIds()),
		}
		if len(s.connections)+len(s.clients) > 0 {
			return s
		}
	}

	return side{}
}

func sortedSet(ids []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(ids)))
}

// names tells whether the side names the connection.
func (s *side) names(m *member) bool {
	switch s.form {
	case byConnection:
		return has(s.connections, m.id)
	case byClient:
		return has(s.clients, m.client)
	case open:
		return !s.lists(m)
	default:
		return false
	}
}

// lists tells whether one of the connection's ids is in the lists.
func (s *side) lists(m *member) bool {
	return has(s.connections, m.id) || has(s.clients, m.client)
}

func has(sorted []string, id string) bool {
	switch len(sorted) {
	case 0:
		return false
	case 1: // By far the most frequent.
		return sorted[0] == id
	default:
		_, found := slices.BinarySearch(sorted, id)

		return found
	}
}
