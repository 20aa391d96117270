package knowledge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
)

// model is presence told in the simplest way: what each media server has said.
type model struct {
	w        *world
	now      time.Time
	servers  map[string]*modelServer
	departed map[string]time.Time
	ids      int
}

type modelServer struct {
	session     *Session
	incarnation int
	complete    bool
	lost        time.Time // since the last complete report
	channels    map[string]*modelChannel
	// What it is in truth, and what it has begun to say.
	truth    map[string]*truth
	unsaid   map[string]*unsaid
	instance uint64
}

type modelChannel struct {
	instance, epoch uint64
	members         map[string]bool
	session         *Session
	lost            time.Time
	states          map[string]modelState
	statesBy        *Session
}

type modelState struct {
	digest Digest
	state  forwardingv1.State
}

type truth struct {
	instance, epoch uint64
	members         map[string]bool
}

// unsaid is the rest of a report that has begun, and what was true then.
type unsaid struct {
	rest *forwardingv1.ChannelReport
	is   *truth
}

const givenUp = 10 * time.Minute

func (m *model) server(t *rapid.T) *modelServer {
	return m.servers[rapid.SampledFrom([]string{"one", "two"}).Draw(t, "media server")]
}

func channelOf(t *rapid.T) string {
	return rapid.SampledFrom([]string{"lobby", "hall"}).Draw(t, "channel")
}

func (m *model) connect(t *rapid.T, name string, restarted bool) {
	s := m.servers[name]
	if restarted || s.incarnation == 0 {
		s.incarnation++
		s.truth, s.instance = map[string]*truth{}, 0
		for _, c := range s.channels {
			c.states, c.statesBy, c.instance = map[string]modelState{}, nil, 0
		}
	}
	m.lose(s)
	session, err := m.w.Connect(Introduction{Name: name, Incarnation: fmt.Sprint(s.incarnation)}, m.now)
	if err != nil {
		t.Fatal(err)
	}
	s.session, s.complete, s.unsaid = session, false, map[string]*unsaid{}
	if s.lost.IsZero() {
		s.lost = m.now
	}
}

// lose has what the present stream reported go out of touch.
func (m *model) lose(s *modelServer) {
	if s.session == nil {
		return
	}
	for _, c := range s.channels {
		if c.session == s.session {
			c.lost = m.now
		}
	}
	if s.lost.IsZero() {
		s.lost = m.now
	}
	s.session, s.complete = nil, false
}

func (m *model) leave(s *modelServer, id string, at time.Time) {
	for member := range s.channels[id].members {
		m.departed[member] = at
	}
	delete(s.channels, id)
}

// change has a connection come or go in truth.
func (m *model) change(t *rapid.T, s *modelServer, id string) {
	c := s.truth[id]
	if c == nil {
		s.instance++
		c = &truth{instance: s.instance, members: map[string]bool{}}
		s.truth[id] = c
	}
	c.epoch++
	if members := ordered(c.members); len(members) > 0 && rapid.Bool().Draw(t, "leaves") {
		delete(c.members, rapid.SampledFrom(members).Draw(t, "who"))
	} else {
		m.ids++
		c.members[fmt.Sprint("c", m.ids)] = true
	}
	if len(c.members) == 0 {
		delete(s.truth, id)
	}
}

// say begins to report what is true: whole or as a difference, in one part or two.
func (m *model) say(t *rapid.T, s *modelServer, id string) {
	if s.session == nil || s.unsaid[id] != nil {
		return
	}
	told, is := s.channels[id], s.truth[id]
	if told != nil && told.session != s.session {
		told = nil
	}
	if is == nil {
		if told != nil {
			m.tell(t, s, &forwardingv1.ChannelReport{ChannelId: id, Instance: told.instance, Closed: true})
			m.leave(s, id, m.now)
		}

		return
	}
	r := &forwardingv1.ChannelReport{ChannelId: id, Instance: is.instance, Epoch: is.epoch}
	if told != nil && told.instance == is.instance && told.epoch < is.epoch && rapid.Bool().Draw(t, "difference") {
		r.BaseEpoch = told.epoch
		for member := range told.members {
			if !is.members[member] {
				r.Left = append(r.Left, member)
			}
		}
	}
	for _, id := range ordered(is.members) {
		if r.GetBaseEpoch() == 0 || !told.members[id] {
			r.Joined = append(r.Joined, member(id))
		}
	}
	cut := rapid.IntRange(0, len(r.GetJoined())).Draw(t, "cut")
	rest := &forwardingv1.ChannelReport{
		ChannelId: id,
		Instance:  r.GetInstance(),
		Epoch:     r.GetEpoch(),
		BaseEpoch: r.GetBaseEpoch(),
		Joined:    r.GetJoined()[cut:],
		Left:      r.GetLeft(),
	}
	s.unsaid[id] = &unsaid{rest, &truth{is.instance, is.epoch, maps.Clone(is.members)}}
	if cut > 0 {
		r.Joined, r.Left, r.More = r.GetJoined()[:cut], nil, true
		m.tell(t, s, r)

		return
	}
	m.finish(t, s, id)
}

// finish says the rest of a report that has begun.
func (m *model) finish(t *rapid.T, s *modelServer, id string) {
	if s.session == nil || s.unsaid[id] == nil {
		return
	}
	m.tell(t, s, s.unsaid[id].rest)
	m.said(s, id, s.unsaid[id].is)
	delete(s.unsaid, id)
}

// said is that a report is there in all its parts.
func (m *model) said(s *modelServer, id string, is *truth) {
	c := s.channels[id]
	if c == nil {
		c = &modelChannel{states: map[string]modelState{}}
		s.channels[id] = c
	}
	if c.instance != is.instance {
		c.states, c.statesBy = map[string]modelState{}, nil
	}
	for member := range c.members {
		if !is.members[member] {
			m.departed[member] = m.now
		}
	}
	for member := range is.members {
		delete(m.departed, member)
	}
	c.instance, c.epoch, c.members, c.session, c.lost = is.instance, is.epoch, maps.Clone(is.members), s.session,
		time.Time{}
}

func (m *model) tell(t *rapid.T, s *modelServer, r *forwardingv1.ChannelReport) {
	if err := s.session.Report(r, m.now); err != nil {
		t.Fatalf("%v: %v", r, err)
	}
}

// acknowledge says what the media server does with the pauses, by their content
// now or before.
func (m *model) acknowledge(t *rapid.T, s *modelServer, id string) {
	c := s.channels[id]
	if s.session == nil || c == nil || c.session != s.session {
		return
	}
	late := rapid.IntRange(0, 5).Draw(t, "late") == 0
	a := &forwardingv1.Acknowledgement{
		ChannelId: id, Instance: c.instance, Epoch: c.epoch, Whole: rapid.Bool().Draw(t, "whole"),
	}
	if late {
		a.Instance++
	}
	counts := !late && (a.GetWhole() || c.statesBy == s.session)
	if counts && a.GetWhole() {
		c.states = map[string]modelState{}
	}
	for _, name := range ordered(m.w.objects) {
		o := m.w.objects[name]
		digest, _ := content(o)
		switch rapid.IntRange(0, 3).Draw(t, "about "+name) {
		case 0:
			continue
		case 1:
			digest[0]++
		}
		state := rapid.SampledFrom([]forwardingv1.State{matching, notMatching, expired}).Draw(t, "state")
		a.Set = append(a.Set, &forwardingv1.PauseState{Uid: string(o.UID), Digest: digest[:], State: state})
		if counts {
			c.states[string(o.UID)] = modelState{digest, state}
		}
	}
	if counts {
		c.statesBy = s.session
	}
	if err := s.session.Acknowledge(a, m.now); err != nil {
		t.Fatal(err)
	}
}

// pass gives up what is lost for too long.
func (m *model) pass() {
	m.w.pass(m.now)
	for _, s := range m.servers {
		for id, c := range s.channels {
			if !c.lost.IsZero() && m.now.Sub(c.lost) >= givenUp && !s.lost.IsZero() && m.now.Sub(s.lost) >= givenUp {
				m.leave(s, id, c.lost.Add(givenUp))
			}
		}
		if !s.complete && !s.lost.IsZero() && m.now.Sub(s.lost) >= givenUp && len(s.channels) == 0 && s.session == nil {
			s.lost = time.Time{}
		}
	}
}

// reason is the verdict by the rules, read one by one.
func (m *model) reason(o *held.Pause) string {
	digest, _ := content(o)
	var hosting, match, waiting, saidExpired, lost, unsure int
	anyLost := false
	for _, s := range m.servers {
		if !s.complete && !s.lost.IsZero() && m.now.Sub(s.lost) < givenUp {
			anyLost = true
		}
		c := s.channels[o.Spec.ChannelID]
		if c == nil {
			continue
		}
		said := c.states[string(o.UID)]
		present := said.digest == digest
		switch {
		case c.lost.IsZero():
			hosting++
			switch {
			case !present:
				waiting++
			case said.state == matching:
				match++
			case said.state == expired:
				saidExpired++
			}
		case m.now.Sub(c.lost) < givenUp && (!present || said.state != expired):
			lost++
			if !present {
				unsure++
			}
		}
	}
	switch {
	case waiting > 0:
		return v1alpha1.ReasonNotAcknowledged
	case unsure > 0 || lost > 0 && match == 0:
		return v1alpha1.ReasonMediaServerLost
	case match > 0:
		return v1alpha1.ReasonEnforced
	case hosting > 0 && saidExpired == hosting:
		return v1alpha1.ReasonExpired
	case anyLost:
		return v1alpha1.ReasonMediaServerLost
	default:
		return v1alpha1.ReasonArmed
	}
}

func (m *model) compare(t *rapid.T) {
	for _, id := range []string{"lobby", "hall"} {
		var want, got []string
		for name, s := range m.servers {
			if c := s.channels[id]; c != nil {
				for member := range c.members {
					want = append(want, fmt.Sprint(member, " at ", name, " out of touch: ", !c.lost.IsZero()))
				}
			}
		}
		for _, c := range m.w.Connections(id, nil, nil).Connections {
			got = append(got, fmt.Sprint(c.GetConnectionId(), " at ", c.MediaServer, " out of touch: ", c.OutOfTouch))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("in %s are\n%s\nwant\n%s", id, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for name, o := range m.w.objects {
		if got, want := m.w.Judge(o, time.Time{}, m.now).Reason, m.reason(o); got != want {
			t.Fatalf("%s is %s, want %s", name, got, want)
		}
	}
	for id, at := range m.departed {
		if _, known := m.w.departed.at[id]; !known && m.now.Sub(at) < givenUp+remembered {
			t.Fatalf("that %s left is not known", id)
		}
	}
	for id := range m.w.departed.at {
		if _, left := m.departed[id]; !left {
			t.Fatalf("%s has not left", id)
		}
	}
}

// Whatever media servers say in whatever order, and however their streams end, a
// manager knows what they said last, and judges by it.
func TestPresenceIsWhatMediaServersSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{w: listed(), now: start, departed: map[string]time.Time{}, servers: map[string]*modelServer{}}
		for _, name := range []string{"one", "two"} {
			m.servers[name] = &modelServer{
				channels: map[string]*modelChannel{}, truth: map[string]*truth{}, unsaid: map[string]*unsaid{},
			}
		}
		m.w.create("a")
		m.w.create("b", inChannel("hall"))
		edits := 0
		t.Repeat(map[string]func(*rapid.T){
			"change":      func(t *rapid.T) { m.change(t, m.server(t), channelOf(t)) },
			"say":         func(t *rapid.T) { m.say(t, m.server(t), channelOf(t)) },
			"say more":    func(t *rapid.T) { m.say(t, m.server(t), channelOf(t)) },
			"finish":      func(t *rapid.T) { m.finish(t, m.server(t), channelOf(t)) },
			"acknowledge": func(t *rapid.T) { m.acknowledge(t, m.server(t), channelOf(t)) },
			"connect": func(t *rapid.T) {
				m.connect(t, rapid.SampledFrom([]string{"one", "two"}).Draw(t, "media server"),
					rapid.IntRange(0, 2).Draw(t, "restarted") == 0)
			},
			"disconnect": func(t *rapid.T) {
				if s := m.server(t); s.session != nil {
					s.session.Close(m.now)
					m.lose(s)
				}
			},
			"complete": func(t *rapid.T) { m.complete(t, m.server(t)) },
			"strange": func(t *rapid.T) {
				if s := m.server(t); s.session != nil && s.unsaid["lobby"] == nil {
					m.tell(t, s, reportOf("lobby", 77, 9, 8, "stranger"))
				}
			},
			"edit": func(t *rapid.T) {
				edits++
				m.w.edit(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "pause"), func(o *held.Pause) {
					o.Spec.Reason = fmt.Sprint(edits % 2)
				})
			},
			"time": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second)
				m.pass()
			},
			"": m.compare,
		})
	})
}

func (m *model) complete(t *rapid.T, s *modelServer) {
	if s.session == nil || s.complete || len(s.unsaid) > 0 {
		return
	}
	if err := s.session.Complete(m.now); err != nil {
		t.Fatal(err)
	}
	for id, c := range s.channels {
		if c.session != s.session {
			m.leave(s, id, m.now)
		}
	}
	s.complete, s.lost = true, time.Time{}
}
