package tables

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// The model: an API server whose history may be put back (a restored backup), two
// replicas that follow it as well as they can, and a media server's channels. What
// they do, in which order, and where tables are cut, is drawn.

// action is one step: what it does with its numbers is the table's below.
type action struct {
	Do      string
	A, B, C int
}

var actions = []string{
	"edit", "edit", "edit", "follow", "follow", "follow", "pump", "pump", "pump", "pump", "flush", "flush", "state", "stall", "recover",
	"restore", "join", "join", "leave", "reopen", "cut", "resend", "misfit", "ask", "ambush", "ambush", "pass", "pass",
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

// modelPause names the receiver by its revision, so that edits change what matches.
func modelPause(uid string, revision byte) *forwardingv1.Pause {
	p := pause(uid, revision)
	p.GetReceivers().GetConnectionIds().Ids = []string{fmt.Sprint("c", revision%3)}
	return p
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

	mu sync.Mutex
	// whole are the tables that some replica stated, by channel.
	whole    map[string][]map[string]byte
	problems []string
}

type backup struct {
	truth   contents
	version uint64
}

// modelReplica is what a manager knows and says.
type modelReplica struct {
	model   *model
	server  *replica
	known   contents
	version uint64
	stale   bool
	// part is how many pauses go into a part.
	part int

	// The fields below belong to the newest session and are guarded by model.mu.
	session  *session
	outbox   []*forwardingv1.SubscribeResponse
	sent     map[string]*sent
	question uint64
}

// sent is what a session was sent of one channel.
type sent struct {
	instance, version uint64
	pauses            map[string]byte
}

func (m *model) problem(format string, arguments ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problems = append(m.problems, fmt.Sprintf(format, arguments...))
}

// opened begins a session: the replica forgets what it told the one before.
func (r *modelReplica) opened(s *session) {
	r.model.mu.Lock()
	defer r.model.mu.Unlock()
	r.session, r.outbox, r.sent = s, nil, make(map[string]*sent)
	s.ledger.verify = r.model.verify
	s.react = func(request *forwardingv1.SubscribeRequest) { r.react(s, request) }
}

// react answers the first report of an instance, and what asks for everything.
func (r *modelReplica) react(s *session, request *forwardingv1.SubscribeRequest) {
	r.model.mu.Lock()
	defer r.model.mu.Unlock()
	if r.session != s {
		return
	}
	report, id := request.GetReport(), request.GetResend().GetChannelId()
	switch {
	case report.GetClosed():
		delete(r.sent, report.GetChannelId())
	case report != nil && !report.GetMore() && (r.sent[report.GetChannelId()] == nil || r.sent[report.GetChannelId()].instance != report.GetInstance()):
		id = report.GetChannelId()
		r.sent[id] = &sent{instance: report.GetInstance()}
	}
	if id == "" || r.sent[id] == nil {
		return
	}
	r.sent[id].version, r.sent[id].pauses = 0, nil
	r.push(id)
}

// push queues the channel's table, as the difference to what was queued before.
// model.mu is held.
func (r *modelReplica) push(id string) {
	before := r.sent[id]
	now := maps.Clone(r.known[id])
	r.model.whole[id] = append(r.model.whole[id], now)
	type change struct {
		uid      string
		revision byte
	}
	var changes []change
	for uid, revision := range now {
		if before.pauses[uid] != revision {
			changes = append(changes, change{uid, revision})
		}
	}
	for uid := range before.pauses {
		if now[uid] == 0 {
			changes = append(changes, change{uid, 0})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return int(a.revision) - int(b.revision) })
	parts := slices.Collect(slices.Chunk(changes, r.part))
	for i := range max(1, len(parts)) {
		table := &forwardingv1.Table{
			ChannelId: id, Instance: before.instance, Version: r.version, BaseVersion: before.version, Stale: r.stale, More: i < len(parts)-1,
		}
		if len(parts) > 0 {
			for _, change := range parts[i] {
				if change.revision == 0 {
					table.Removed = append(table.Removed, change.uid)
				} else {
					table.Set = append(table.Set, modelPause(change.uid, change.revision))
				}
			}
		}
		r.outbox = append(r.outbox, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Table{Table: table}})
	}
	before.version, before.pauses = r.version, now
}

// follow learns the truth and says it; a replica whose watch failed does not.
func (r *modelReplica) follow() {
	r.model.mu.Lock()
	defer r.model.mu.Unlock()
	if r.stale {
		return
	}
	before := r.known
	r.known, r.version = r.model.truth.clone(), r.model.version
	for _, id := range modelChannels {
		if r.sent[id] != nil && !maps.Equal(before[id], r.known[id]) {
			r.push(id)
		}
	}
}

// state queues the replica's version.
func (r *modelReplica) state() {
	r.model.mu.Lock()
	defer r.model.mu.Unlock()
	r.outbox = append(r.outbox, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_ReplicaVersion{
		ReplicaVersion: &forwardingv1.ReplicaVersion{Version: r.version, Stale: r.stale},
	}})
}

// pump sends up to n queued messages.
func (r *modelReplica) pump(n int) {
	r.model.mu.Lock()
	s := r.session
	n = min(n, len(r.outbox))
	messages := r.outbox[:n]
	r.outbox = r.outbox[n:]
	r.model.mu.Unlock()
	for _, message := range messages {
		// A session that has ended takes nothing.
		_ = s.call.Send(message)
	}
	synctest.Wait()
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
	m.problem("%s: epoch %d of instance %d is acknowledged with states that the Host never had then", id, e.acknowledgedEpoch, e.instance)
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
		r.part = 1 + a.C%3
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
		r.say(&forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Resend{Resend: &forwardingv1.Resend{ChannelId: id}}})
	case "misfit":
		r.misfit(id)
	case "ask":
		r.ask(id)
	case "ambush":
		m.ambush(id, a.C)
	case "pass":
		time.Sleep(time.Duration(a.C%5) * time.Second)
	}
	synctest.Wait()
}

func (r *modelReplica) say(response *forwardingv1.SubscribeResponse) {
	r.model.mu.Lock()
	defer r.model.mu.Unlock()
	r.outbox = append(r.outbox, response)
}

func (r *modelReplica) stall() {
	r.model.mu.Lock()
	r.stale = true
	r.model.mu.Unlock()
	r.state()
}

func (r *modelReplica) recover() {
	r.model.mu.Lock()
	r.stale = false
	r.model.mu.Unlock()
	r.follow()
	r.state()
}

// misfit queues a difference to a table that was never stated.
func (r *modelReplica) misfit(id string) {
	r.model.mu.Lock()
	defer r.model.mu.Unlock()
	if r.sent[id] != nil {
		r.outbox = append(r.outbox, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Table{Table: &forwardingv1.Table{
			ChannelId: id, Instance: r.sent[id].instance, Version: r.version, BaseVersion: 1 << 40, Stale: r.stale,
			Set: []*forwardingv1.Pause{modelPause("misfit", 255)},
		}}})
	}
}

// ask queues a question at the replica's version, after the table of that version.
func (r *modelReplica) ask(id string) {
	r.model.mu.Lock()
	defer r.model.mu.Unlock()
	if r.sent[id] == nil {
		return
	}
	r.push(id)
	r.question++
	r.outbox = append(r.outbox, &forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Question{Question: &forwardingv1.Question{
		Id: r.question, ChannelId: id, Instance: r.sent[id].instance, Version: r.version, Wait: durationpb.New(3 * time.Second),
	}}})
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
		case !maps.EqualFunc(e.members, h.members[h.epoch-1], func(a, b *forwardingv1.Connection) bool { return proto.Equal(a, b) }):
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
	m.partBytes = 150
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
// what is so, and no acknowledgement comes before its report.
func TestModel(t *testing.T) {
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
		})
		if len(problems) > 0 {
			rt.Fatalf("%q", problems[:min(len(problems), 5)])
		}
	})
}
