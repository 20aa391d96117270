package tables

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// The model: an API server whose history may be put back (a restored backup), two
// replicas that follow it as well as they can, and a media server's channels, in which
// media flows. What they do, in which order, and where tables are cut, is drawn.

// action is one step: what it does with its numbers is the table's below.
type action struct {
	Do      string
	A, B, C int
}

var actions = []string{
	"edit", "edit", "edit", "follow", "follow", "follow", "pump", "pump", "pump", "pump", "flush", "flush", "state",
	"stall", "recover",
	"restore", "join", "join", "leave", "reopen", "cut", "resend", "misfit", "ask", "ambush", "ambush", "pass", "pass",
	"linger",
}

var modelChannels = []string{"lobby", "stage"}

// contents is the pauses of each channel: uid to revision.
type contents map[string]map[string]byte

func (c contents) clone() contents {
	clone := make(contents)
	for id, pauses := range c {
		clone[id] = maps.Clone(pauses)
	}

	return clone
}

func revisions(pauses map[string]*forwardingv1.Pause) map[string]byte {
	revisions := make(map[string]byte)
	for uid, pause := range pauses {
		revisions[uid] = pause.GetDigest()[0]
	}

	return revisions
}

type model struct {
	*world
	truth    contents
	version  uint64
	revision byte
	backups  []backup
	replicas []*modelReplica
	joined   map[string]map[string]bool
	// fence is how long a table takes to be enforced, in ns.
	fence     atomic.Int64
	lingering atomic.Int64

	seen sightings

	mu sync.Mutex
	// whole are the tables that some replica stated, by channel.
	whole    map[string][]map[string]byte
	problems []string
}

type backup struct {
	truth   contents
	version uint64
}

func (m *model) problem(format string, arguments ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problems = append(m.problems, fmt.Sprintf(format, arguments...))
}

// verify checks an acknowledgement against what the Host did at its epoch.
func (m *model) verify(id string, e *entry) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	h := m.host.past[e.instance]
	for _, moment := range h.moments {
		if moment.epoch == e.acknowledgedEpoch && equalStates(h.states[moment.sequence-1], e.states) {
			return
		}
	}
	m.problem("%s: epoch %d of instance %d is acknowledged with states that the Host never had then", id,
		e.acknowledgedEpoch, e.instance)
}

// enforced checks that a table acts only when it is whole.
func (m *model) enforced(id string, table map[string]*forwardingv1.Pause) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := revisions(table)
	if !slices.ContainsFunc(m.whole[id], func(whole map[string]byte) bool { return maps.Equal(whole, now) }) {
		m.problems = append(m.problems, fmt.Sprintf("%s enforces %v, which no replica stated", id, now))
	}
}

func (m *model) do(a action) {
	id, r := modelChannels[a.A%len(modelChannels)], m.replicas[a.B%len(m.replicas)]
	switch a.Do {
	case "edit":
		m.version++
		m.revision++
		uid := fmt.Sprint("u", a.C%6)
		if m.truth[id][uid] != 0 && a.C%4 == 0 {
			delete(m.truth[id], uid)
		} else {
			m.truth[id][uid] = m.revision
		}
		if a.B%5 == 0 {
			m.backups = append(m.backups, backup{m.truth.clone(), m.version})
		}
	case "follow":
		m.mu.Lock()
		r.part = 1 + a.C%3 // A stream that is just beginning is told a table meanwhile.
		m.mu.Unlock()
		r.follow()
	case "pump":
		r.pump(1 + a.C%4)
	case "flush":
		r.pump(1 << 30)
	case "state":
		r.state()
	case "stall":
		r.stall()
	case "recover":
		r.recover()
	case "restore":
		m.restore(a.C)
	case "join", "leave":
		m.joined[id][fmt.Sprint("c", a.C%3)] = a.Do == "join"
		m.member(id)
	case "reopen":
		m.hostsNone(id)
		m.member(id)
	case "cut":
		m.mu.Lock()
		s := r.session
		m.mu.Unlock()
		select {
		case s.end <- errors.New("cut"):
		default:
		}
		// Past the first retry: other things happen while it is away.
		time.Sleep(time.Duration(a.C%4) * 60 * time.Millisecond)
	case "resend":
		r.say(&forwardingv1.SubscribeResponse{
			Message: &forwardingv1.SubscribeResponse_Resend{Resend: &forwardingv1.Resend{ChannelId: id}},
		})
	case "misfit":
		r.misfit(id)
	case "ask":
		r.ask(id)
	case "ambush":
		m.ambush(id, a.C)
	case "pass":
		time.Sleep(time.Duration(a.C%5) * time.Second)
	case "linger":
		m.fence.Store(int64([]time.Duration{0, beat / 2, 50 * beat}[a.C%3]))
	}
	m.judge()
	time.Sleep(beat)
	m.judge()
}

// restore puts the truth back: the replicas' watches fail.
func (m *model) restore(which int) {
	if len(m.backups) == 0 {
		return
	}
	which %= len(m.backups)
	m.truth, m.version = m.backups[which].truth.clone(), m.backups[which].version
	m.backups = m.backups[:which+1]
	for _, r := range m.replicas {
		r.stall()
	}
}

// member tells the Host who is in the channel.
func (m *model) member(id string) {
	var ids []string
	for connection, in := range m.joined[id] {
		if in {
			ids = append(ids, connection)
		}
	}
	m.hosts(id, ids...)
}

// ambush has the channel change, or end and begin anew, while it is looked at.
func (m *model) ambush(id string, which int) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	m.host.ambush = func() {
		connection := fmt.Sprint("c", which%3)
		m.joined[id][connection] = !m.joined[id][connection]
		if which%4 == 0 {
			m.hostsNone(id)
		}
		m.member(id)
	}
}

// hostsNone ends the channel without a word: the Host tells of the next one.
func (m *model) hostsNone(id string) { m.host.host(id) }

// settle lets everything come to rest, then checks what must be so.
func (m *model) settle() {
	m.host.mu.Lock()
	m.host.ambush = nil
	m.host.mu.Unlock()
	m.fence.Store(0)
	for range 12 {
		for _, r := range m.replicas {
			r.follow()
			r.state()
			r.pump(1 << 30)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		for _, r := range m.replicas {
			r.pump(1 << 30)
		}
		m.judge()
	}
	fresh := slices.ContainsFunc(m.replicas, func(r *modelReplica) bool { return !r.stale })
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	for id, h := range m.host.hosted {
		if !h.holds {
			m.problem("%s holds no table", id)
		} else if fresh && !maps.Equal(revisions(h.table), m.truth[id]) {
			m.problem("%s enforces %v, the truth is %v", id, revisions(h.table), m.truth[id])
		}
	}
	for i, r := range m.replicas {
		m.compare(i, r)
	}
}

// compare checks what a replica was told against the Host.
func (m *model) compare(i int, r *modelReplica) {
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	l := r.session.ledger
	if len(l.channels) != len(m.host.hosted) {
		m.problem("replica %d knows %d channels of %d", i, len(l.channels), len(m.host.hosted))
	}
	for id, h := range m.host.hosted {
		e := l.channels[id]
		switch {
		case e == nil || e.instance != h.instance || e.epoch != h.epoch:
			m.problem("replica %d does not know instance %d of %s at epoch %d", i, h.instance, id, h.epoch)
		case !maps.EqualFunc(e.members, h.members[h.epoch-1],
			func(a, b *forwardingv1.Connection) bool { return proto.Equal(a, b) }):
			m.problem("replica %d takes %v to be in %s", i, slices.Collect(maps.Keys(e.members)), id)
		case h.holds && (e.acknowledgedEpoch != h.epoch || !equalStates(e.states, h.states[len(h.states)-1])):
			m.problem("replica %d holds an acknowledgement of %s at epoch %d that is not what is so", i, id, e.acknowledgedEpoch)
		}
	}
	for id := range r.question {
		if r.session.ledger.answers[id+1] != nil && !l.answered[id+1] {
			m.problem("replica %d has half an answer to question %d", i, id+1)
		}
	}
}

func (m *model) run(t *testing.T, program []action) {
	m.host.enforced = m.enforced
	m.start(t)
	synctest.Wait()
	for _, id := range modelChannels {
		m.joined[id]["c0"] = true
		m.member(id)
	}
	for _, a := range program {
		m.do(a)
	}
	m.settle()
	m.end()
	for _, r := range m.replicas {
		m.problems = append(m.problems, r.server.problems()...)
	}
}

func newModel() *model {
	m := &model{
		world: newWorld([]string{replicaA, replicaB}), version: 10,
		truth: contents{}, joined: make(map[string]map[string]bool), whole: make(map[string][]map[string]byte),
	}
	m.partBytes, m.host.forwards, m.host.apply = 150, true, m.apply
	for _, id := range modelChannels {
		m.truth[id], m.joined[id] = make(map[string]byte), make(map[string]bool)
	}
	for _, address := range []string{replicaA, replicaB} {
		r := &modelReplica{model: m, server: m.world.replicas[address], known: m.truth.clone(), version: m.version, part: 2}
		r.server.limit = m.partBytes
		r.server.opened = r.opened
		m.replicas = append(m.replicas, r)
	}

	return m
}

// Whatever the order: the newest fresh replica's table is enforced once all is
// quiet, a table acts only when it is whole, what a replica was told adds up to
// what is so, no acknowledgement comes before its report, and packets do at every
// moment what was acknowledged.
func TestModel(t *testing.T) {
	var seen sightings
	rapid.Check(t, func(rt *rapid.T) {
		program := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) action {
			return action{
				rapid.SampledFrom(actions).Draw(rt, "do"),
				rapid.IntRange(0, 59).Draw(rt, "a"), rapid.IntRange(0, 59).Draw(rt, "b"), rapid.IntRange(0, 59).Draw(rt, "c"),
			}
		}), 40, 160).Draw(rt, "program")
		var problems []string
		synctest.Test(t, func(t *testing.T) {
			m := newModel()
			m.run(t, program)
			problems = m.problems
			seen.add(m.seen)
		})
		if len(problems) > 0 {
			rt.Fatalf("%q", problems[:min(len(problems), 5)])
		}
	})
	t.Logf("%+v", seen)
	if seen.flowing == 0 || seen.withheld == 0 || seen.lingering == 0 {
		t.Errorf("the programs were dull: %+v", seen)
	}
}
