package tables

import (
	"maps"
	"slices"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

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
	case report != nil && !report.GetMore() && (r.sent[report.GetChannelId()] == nil ||
		r.sent[report.GetChannelId()].instance != report.GetInstance()):
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
			ChannelId: id, Instance: before.instance, Version: r.version, BaseVersion: before.version, Stale: r.stale,
			More: i < len(parts)-1,
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
		r.outbox = append(r.outbox,
			&forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Table{Table: table}})
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
		ReplicaVersion: &forwardingv1.ReplicaVersion{Version: r.version, Stale: r.stale, Clock: true},
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
		r.outbox = append(r.outbox,
			&forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Table{Table: &forwardingv1.Table{
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
	r.outbox = append(r.outbox,
		&forwardingv1.SubscribeResponse{Message: &forwardingv1.SubscribeResponse_Question{Question: &forwardingv1.Question{
			Id: r.question, ChannelId: id, Instance: r.sent[id].instance, Version: r.version,
			Wait: durationpb.New(3 * time.Second),
		}}})
}
