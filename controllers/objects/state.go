package objects

import (
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/nagi-rtc/nagi/controllers/held"
)

// state is the objects of a namespace by name. It knows no locks and no API server.
type state struct {
	objects     map[string]readable
	undecodable map[string]undecodable
}

type readable struct {
	pause *held.Pause
	sum   uint64
}

type undecodable struct {
	Undecodable
	version string
	sum     uint64
}

func newState() state {
	return state{map[string]readable{}, map[string]undecodable{}}
}

// count is how many objects etcd has when it has what is held.
func (s state) count() int { return len(s.objects) + len(s.undecodable) }

// item is one stored object as it was read.
type item struct {
	identity
	pause *held.Pause
	err   error // pause does not decode.
}

// read reads one stored object. One that is held as it is stored is not decoded
// again: a list of what is held costs next to no memory.
func (s state) read(raw []byte) (item, error) {
	id, err := identify(raw)
	if err != nil {
		return item{}, err
	}
	if h, ok := s.objects[id.name]; ok && id.sum == h.sum && id.uid == h.pause.UID &&
		id.version == h.pause.ResourceVersion {
		return item{identity: id, pause: h.pause}, nil
	}
	if u, ok := s.undecodable[id.name]; ok && id.sum == u.sum && id.uid == u.UID && id.version == u.version {
		return item{identity: id, err: u.Err}, nil
	}
	pause, err := decode(raw)

	return item{id, pause, err}, nil
}

func (s state) put(i item) {
	s.drop(i.name)
	if i.err != nil {
		s.undecodable[i.name] = undecodable{Undecodable{Name: i.name, UID: i.uid, Err: i.err}, i.version, i.sum}

		return
	}
	s.objects[i.name] = readable{i.pause, i.sum}
}

func (s state) drop(name string) {
	delete(s.objects, name)
	delete(s.undecodable, name)
}

// newUndecodable are those objects of after that do not decode and are not in
// before as they are.
func newUndecodable(before, after state) []undecodable {
	var result []undecodable
	for name, u := range after.undecodable {
		if was := before.undecodable[name]; was.UID != u.UID || was.version != u.version {
			result = append(result, u)
		}
	}

	return result
}

// differences tells how to come from one state to another, what is no longer there
// first, so that whoever counts never counts too many.
func differences(before, after state) []Change {
	var result []Change
	for name, was := range before.objects {
		if is, ok := after.objects[name]; !ok || is.pause.UID != was.pause.UID {
			result = append(result, Change{Before: was.pause})
		}
	}
	for name, is := range after.objects {
		was := before.objects[name].pause
		if was != nil && was.UID != is.pause.UID {
			was = nil // Told already.
		}
		result = append(result, difference(was, is.pause)...)
	}

	return result
}

// difference of what one name held and holds.
func difference(before, after *held.Pause) []Change {
	switch {
	case before == after:
		return nil
	case before == nil || after == nil:
		return []Change{{before, after}}
	case before.UID != after.UID:
		return []Change{{Before: before}, {After: after}}
	case before.ResourceVersion == after.ResourceVersion && equality.Semantic.DeepEqual(before.Object(), after.Object()):
		return nil // The same, sent in another form.
	}

	return []Change{{before, after}}
}
