package channel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

// replica keeps what it is told of a channel as a manager does: differences where
// it has a base.
type replica struct {
	instance, epoch uint64
	connections     map[string]*forwardingv1.Connection
	sequence        uint64
	states          map[string]*forwardingv1.PauseState
	differences     int
}

// follow takes what changed, and holds it against everything.
func (r *replica) follow(t *testing.T, s *server) {
	t.Helper()
	m := s.registry.Membership(channelID, r.instance, r.epoch)
	if m.Base == 0 {
		r.connections, r.states, r.sequence = map[string]*forwardingv1.Connection{}, map[string]*forwardingv1.PauseState{}, 0
	} else if r.differences++; m.Base != r.epoch {
		t.Errorf("asked about epoch %d, told of %d", r.epoch, m.Base)
	}
	for _, c := range m.Joined {
		r.connections[c.GetConnectionId()] = c
	}
	for _, id := range m.Left {
		if r.connections[id] == nil {
			t.Errorf("%s is said to have left, and had not joined", id)
		}
		delete(r.connections, id)
	}
	r.instance, r.epoch = m.Instance, m.Epoch

	states := s.registry.States(channelID, r.instance, r.sequence)
	if states.Whole {
		r.states = map[string]*forwardingv1.PauseState{}
	}
	for _, state := range states.Set {
		r.states[state.GetUid()] = state
	}
	for _, uid := range states.Removed {
		delete(r.states, uid)
	}
	r.sequence = states.Sequence

	whole := s.registry.Membership(channelID, 0, 0)
	var ids []string
	for _, c := range whole.Joined {
		ids = append(ids, c.GetConnectionId())
	}
	slices.Sort(ids)
	if told := slices.Sorted(maps.Keys(r.connections)); !slices.Equal(told, ids) || whole.Epoch != r.epoch {
		t.Errorf("told of %v up to epoch %d; there are %v at %d", told, r.epoch, ids, whole.Epoch)
	}
	all := s.registry.States(channelID, 0, 0)
	if len(all.Set) != len(r.states) || all.Sequence != r.sequence {
		t.Errorf("told of %d states up to %d; there are %d at %d", len(r.states), r.sequence, len(all.Set), all.Sequence)
	}
	for _, state := range all.Set {
		if !proto.Equal(state, r.states[state.GetUid()]) {
			t.Errorf("told %v, is %v", r.states[state.GetUid()], state)
		}
	}
}

func TestDifferencesAddUp(t *testing.T) {
	s := newServer(t, time.Hour, channel.Forward)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	first := s.join(t, "first")
	r, lazy := &replica{}, &replica{}
	r.follow(t, s)
	lazy.follow(t, s)
	for round := range 6 {
		b := s.join(t, fmt.Sprint(round))
		r.follow(t, s)
		s.apply(newPause("1", everyone(), clients(fmt.Sprint(round))), newPause("2", clients("nobody"), everyone()),
			newPause(fmt.Sprint("more-", round), everyone(), everyone()))
		r.follow(t, s)
		s.version++
		s.registry.Apply(tables.Table{
			ChannelID: channelID, Instance: s.instance(), Version: s.version,
			Set: []*forwardingv1.Pause{newPause("3", nil, everyone())}, Removed: []string{"1", "absent"},
		})
		r.follow(t, s)
		if err := b.Leave(ctx); err != nil {
			t.Fatal(err)
		}
		r.follow(t, s)
	}
	lazy.follow(t, s)
	if r.states["3"].GetState() != forwardingv1.State_STATE_NOT_UNDERSTOOD ||
		r.states["2"].GetState() != forwardingv1.State_STATE_NOT_MATCHING {
		t.Errorf("states are %v", r.states)
	}
	if r.differences == 0 || lazy.differences != 1 {
		t.Errorf("%d and %d differences were told", r.differences, lazy.differences)
	}
	if all := s.registry.States(channelID, s.instance(), 1<<40); !all.Whole {
		t.Error("a sequence that never was is answered by a difference")
	}

	// The next one is another instance: nothing of this one holds.
	instance := s.instance()
	if err := first.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the instance has ended", func() bool { return s.instance() == 0 })
	if states := s.registry.States(channelID, instance, 0); states.Instance != 0 {
		t.Errorf("states of an instance that has ended: %v", states)
	}
	s.join(t, "again")
	s.registry.Apply(tables.Table{ChannelID: channelID, Instance: instance, Version: 99, Whole: true})
	if states := s.registry.States(channelID, 0, 0); s.instance() <= instance || states.Instance != 0 {
		t.Errorf("instance %d took the table of instance %d: %v", s.instance(), instance, states)
	}
	if answer := s.ask(&forwardingv1.Question{Instance: instance,
		Asks: &forwardingv1.Question_Edge{}}); answer.GetError() == "" {
		t.Error("a question about an instance that has ended is answered")
	}
	r.follow(t, s)
}

// withheld asks for the edges of which video is withheld.
func (s *server) withheld(limit uint32) *forwardingv1.Answer {
	return s.ask(&forwardingv1.Question{Id: 7, Asks: &forwardingv1.Question_Withheld{
		Withheld: &forwardingv1.WithheldEdges{Kind: forwardingv1.Kind_KIND_VIDEO, Limit: limit},
	}})
}

func TestWithheldEdgesAreTold(t *testing.T) {
	s := newServer(t, time.Hour, channel.Hold)
	a, b, c := s.join(t, "a"), s.join(t, "b"), s.join(t, "c")
	audio := newPause("3", everyone(), clients("a"),
		func(p *forwardingv1.Pause) { p.Kinds = []forwardingv1.Kind{forwardingv1.Kind_KIND_AUDIO} })
	s.apply(newPause("1", everyone(), clients("a")), newPause("2", one(b), everyone()), audio)

	answer := s.withheld(100)
	got := map[string][]string{}
	for _, e := range answer.GetEdges() {
		got[e.GetRecvConnectionId()+" "+e.GetSendConnectionId()] = e.GetPauseUids()
	}
	want := map[string][]string{
		b.ConnectionID() + " " + a.ConnectionID(): {"1", "2", "3"},
		c.ConnectionID() + " " + a.ConnectionID(): {"1", "3"},
		b.ConnectionID() + " " + c.ConnectionID(): {"2"},
	}
	if !maps.EqualFunc(got, want, slices.Equal) || answer.GetCount() != 3 || len(answer.GetPauses()) != 0 ||
		answer.GetQuestionId() != 7 {
		t.Errorf("withheld are %v, %d, want %v", got, answer.GetCount(), want)
	}
	brief := s.ask(&forwardingv1.Question{Asks: &forwardingv1.Question_Withheld{
		Withheld: &forwardingv1.WithheldEdges{Kind: forwardingv1.Kind_KIND_VIDEO, Limit: 100, ByReceiver: true},
	}})
	var names []string
	for _, r := range brief.GetReceivers() {
		for _, sender := range r.GetSendConnectionIds() {
			names = append(names, r.GetRecvConnectionId()+" "+sender)
			if r.GetRecvRole() != forwardingv1.Role_ROLE_SENDRECV {
				t.Errorf("the role of %s is %s", r.GetRecvConnectionId(), r.GetRecvRole())
			}
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, slices.Sorted(maps.Keys(want))) || brief.GetCount() != 3 || len(brief.GetReceivers()) != 2 ||
		len(brief.GetEdges()) != 0 {
		t.Errorf("by receiver they are %v, want those of %v", brief, answer)
	}
	few := s.withheld(1)
	if len(few.GetEdges()) != 1 || few.GetCount() != 3 || len(few.GetPauses()) != 2 || few.GetPauses()[0].GetEdges() != 2 {
		t.Errorf("beyond the limit the answer is %v", few)
	}
	pause := s.ask(&forwardingv1.Question{Asks: &forwardingv1.Question_Pause{Pause: &forwardingv1.PauseEdges{Uid: "2",
		Limit: 1}}})
	if len(pause.GetEdges()) != 1 || pause.GetCount() != 2 ||
		pause.GetEdges()[0].GetRecvConnectionId() != b.ConnectionID() {
		t.Errorf("of one pause the edges are %v", pause)
	}
	if answer := s.ask(&forwardingv1.Question{}); answer.GetError() == "" {
		t.Error("a question without anything asked is answered")
	}
	if answer := s.registry.Ask(&forwardingv1.Question{ChannelId: "elsewhere",
		Asks: &forwardingv1.Question_Withheld{}}); answer.GetError() != "" || answer.GetCount() != 0 {
		t.Errorf("of a channel that is not hosted: %v", answer)
	}

	// Of each of many edges the oldest pauses are told, of one edge all.
	var many []*forwardingv1.Pause
	for i := range 20 {
		many = append(many, newPause(fmt.Sprintf("%02d", i), everyone(), clients("a")))
	}
	s.apply(many...)
	for _, e := range s.withheld(100).GetEdges() {
		if uids := e.GetPauseUids(); len(uids) != 16 || uids[15] != "15" {
			t.Errorf("of one of many edges the pauses are %v", uids)
		}
	}
	if uids := s.edge(b, a).GetPauseUids(); len(uids) != len(many) {
		t.Errorf("of one edge the pauses are %v", uids)
	}
}

func TestADismissedConnectionIsToldAndGone(t *testing.T) {
	s := newServer(t, time.Hour, channel.Hold)
	s.apply()
	dismiss := func(d *forwardingv1.Dismissal) uint64 {
		t.Helper()
		answer := s.ask(&forwardingv1.Question{Asks: &forwardingv1.Question_Dismiss{Dismiss: d}})
		if answer.GetError() != "" {
			t.Error(answer.GetError())
		}

		return answer.GetCount()
	}
	told := func(bots ...*bot.Bot) {
		t.Helper()
		for _, b := range bots {
			select {
			case <-b.Done():
			case <-time.After(deadline):
				t.Fatalf("%s was not closed", b.ClientID())
			}
			if closed, ok := errors.AsType[*bot.ClosedError](b.Err()); !ok || closed.Code != 1000 ||
				closed.Reason != "DISCONNECTED-API" {
				t.Errorf("%s ended with %v", b.ClientID(), b.Err())
			}
		}
	}
	a, b, c := s.join(t, "a"), s.join(t, "b"), s.join(t, "b")
	d, e := s.join(t, "d"), s.join(t, "e")

	byID := &forwardingv1.Dismissal{Whom: &forwardingv1.Dismissal_ConnectionId{ConnectionId: a.ConnectionID()}}
	all := &forwardingv1.Dismissal{Whom: &forwardingv1.Dismissal_Everyone{Everyone: &forwardingv1.Everyone{}}}
	if n := dismiss(byID); n != 1 {
		t.Errorf("%d connections dismissed by id", n)
	}
	if m := s.registry.Membership(channelID, 0, 0); len(m.Joined) != 4 || s.edge(b, a) != nil {
		t.Errorf("there are still %v", m.Joined)
	}
	told(a)
	if n := dismiss(byID); n != 0 {
		t.Errorf("%d connections dismissed by an id that has left", n)
	}
	if n := dismiss(&forwardingv1.Dismissal{Whom: &forwardingv1.Dismissal_ClientId{ClientId: "b"}}); n != 2 {
		t.Errorf("%d connections dismissed by client", n)
	}
	told(b, c)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if _, err := d.WaitNotification(ctx, func(n bot.Notification) bool {
		return n.EventType == bot.EventConnectionDestroyed && n.ConnectionID == c.ConnectionID()
	}); err != nil {
		t.Errorf("those who stay are not told: %v", err)
	}
	if n := dismiss(all); n != 2 {
		t.Errorf("%d connections dismissed with the channel", n)
	}
	told(d, e)
	eventually(t, "the channel has ended", func() bool { return len(s.registry.Hosted()) == 0 })
	if n := dismiss(all); n != 0 {
		t.Errorf("%d connections dismissed of a channel that has ended", n)
	}
}

// TestTheReasonIsTold: with the pause, and again when it is another one.
func TestTheReasonIsTold(t *testing.T) {
	s := newServer(t, time.Hour, channel.Hold)
	a, b := s.join(t, "a"), s.join(t, "b")
	reason := func(uid, reason string, kinds ...forwardingv1.Kind) *forwardingv1.Pause {
		return newPause(uid, one(a), one(b), func(p *forwardingv1.Pause) { p.Reason, p.Kinds = reason, kinds })
	}
	seen := 0
	told := func(want ...string) {
		t.Helper()
		streams := func() []string {
			var told []string
			for _, n := range a.Notifications() {
				if n.EventType == bot.EventStreamPaused || n.EventType == bot.EventStreamResumed {
					told = append(told, fmt.Sprint(n.EventType, " ", n.Kinds, " ", n.Reason))
				}
			}

			return told
		}
		eventually(t, fmt.Sprint("told ", want), func() bool { return len(streams()) >= seen+len(want) })
		if got := streams()[seen:]; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		seen += len(want)
	}
	audio, video := forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO

	s.apply(reason("1", "camera test", video))
	told("rtp-stream.paused [video] camera test")
	s.apply(reason("1", "camera test", video), reason("2", "nobody hears it", audio, video))
	told("rtp-stream.paused [audio] nobody hears it")
	s.apply(reason("1", "until nine", video), reason("2", "nobody hears it", audio, video))
	told("rtp-stream.paused [video] until nine")
	s.apply(reason("2", "nobody hears it", audio, video))
	told("rtp-stream.paused [video] nobody hears it")
	s.apply(reason("2", "", audio, video))
	told("rtp-stream.paused [audio video] ")
	s.apply(reason("2", "", audio))
	told("rtp-stream.resumed [video] ")
	s.apply()
	told("rtp-stream.resumed [audio] ")
}
