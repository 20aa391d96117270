package channel_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
	"github.com/nagi-rtc/nagi/mediaserver/channel"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

// stretch is one kind of media of one edge.
type stretch struct {
	receiver, sender *bot.Bot
	kind             forwardingv1.Kind
}

func (s stretch) String() string {
	return fmt.Sprintf("%v of %s at %s", s.kind, s.sender.ClientID(), s.receiver.ClientID())
}

func (s stretch) botKind() bot.Kind {
	if s.kind == forwardingv1.Kind_KIND_AUDIO {
		return bot.Audio
	}

	return bot.Video
}

// editor edits the pauses of a channel in which everybody publishes.
type editor struct {
	server *server
	bots   []*bot.Bot
	random *rand.Rand
	pauses map[string]*forwardingv1.Pause
}

// TestAnEditIsOneStep edits pauses at random, one or several at a time, while media
// flows: sides and kinds are widened, narrowed and swapped. By sequence numbers and
// by what arrives, whatever is withheld before and after an edit carries no packet
// in between, and whatever is withheld no longer goes on.
func TestAnEditIsOneStep(t *testing.T) {
	s := newServer(t, time.Hour, channel.Hold)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	e := &editor{server: s, random: rand.New(rand.NewPCG(seed, 0)), pauses: map[string]*forwardingv1.Pause{}}
	for _, clientID := range []string{"phone", "phone", "laptop", "wall"} {
		e.bots = append(e.bots, s.join(t, clientID))
	}
	s.apply()
	for stretch := range e.all() {
		eventually(t, stretch.String()+" flows", comes(stretch.receiver, stretch.sender, stretch.botKind()))
	}
	for range 40 {
		e.edit(t)
	}
}

// all yields everything that can flow.
func (e *editor) all() map[stretch]struct{} {
	all := map[stretch]struct{}{}
	for _, receiver := range e.bots {
		for _, sender := range e.bots {
			if receiver != sender {
				all[stretch{receiver, sender, forwardingv1.Kind_KIND_AUDIO}] = struct{}{}
				all[stretch{receiver, sender, forwardingv1.Kind_KIND_VIDEO}] = struct{}{}
			}
		}
	}

	return all
}

func (e *editor) edit(t *testing.T) {
	t.Helper()
	before := e.withheld(t)
	stopped := map[stretch]uint64{}
	for stretch := range before {
		stopped[stretch] = e.arrived(t, stretch)
	}

	table := e.draw()
	e.server.registry.Apply(table)

	after := e.withheld(t)
	for stretch, last := range before {
		if _, still := after[stretch]; !still {
			eventually(t, stretch.String()+" goes on", comes(stretch.receiver, stretch.sender, stretch.botKind()))

			continue
		}
		if now := after[stretch]; now != last {
			t.Errorf("%v went on from %d to %d within the edit %v", stretch, last, now, table)
		}
		if n := packets(stretch.receiver, stretch.sender, stretch.botKind()); n != stopped[stretch] {
			t.Errorf("%d packets of %v arrived within the edit %v", n-stopped[stretch], stretch, table)
		}
	}
	for stretch := range e.all() {
		if _, withheld := after[stretch]; !withheld {
			eventually(t, stretch.String()+" flows", comes(stretch.receiver, stretch.sender, stretch.botKind()))
		}
	}
	if now := e.withheld(t); !maps.Equal(now, after) {
		t.Errorf("what is withheld has the last numbers %v, and had %v at the end of the edit", now, after)
	}
}

// withheld returns what the pauses withhold with the last sequence numbers, -1 where
// nothing ever left. It fails when the channel does not agree.
func (e *editor) withheld(t *testing.T) map[stretch]int {
	t.Helper()
	withheld := map[stretch]int{}
	for stretch := range e.all() {
		paused := slices.ContainsFunc(slices.Collect(maps.Values(e.pauses)), func(p *forwardingv1.Pause) bool {
			return p.PausesKind(stretch.kind) && names(p.GetReceivers(), stretch.receiver) &&
				names(p.GetSenders(), stretch.sender)
		})
		stream := streamOf(e.server.edge(stretch.receiver, stretch.sender), stretch.kind)
		if said := slices.Contains(stream.GetWithheld(), forwardingv1.Withheld_WITHHELD_PAUSED); said != paused {
			t.Fatalf("%v is said to be paused: %v; want %v under %v", stretch, said, paused, e.pauses)
		}
		if paused {
			withheld[stretch] = -1
			if stream.LastSequenceNumber != nil {
				withheld[stretch] = int(stream.GetLastSequenceNumber())
			}
		}
	}

	return withheld
}

// arrived waits until the last packet has arrived of what is withheld, and returns
// how many came.
func (e *editor) arrived(t *testing.T, what stretch) uint64 {
	t.Helper()
	stream := streamOf(e.server.edge(what.receiver, what.sender), what.kind)
	eventually(t, "the last packet of "+what.String()+" arrives", func() bool {
		got, _ := what.receiver.Stream(what.sender.ConnectionID(), what.botKind())

		return stream.LastSequenceNumber == nil || got.LastSequenceNumber == uint16(stream.GetLastSequenceNumber())
	})

	return packets(what.receiver, what.sender, what.botKind())
}

// draw makes an edit of one to three pauses, told as a difference or as a whole.
func (e *editor) draw() tables.Table {
	e.server.version++
	table := tables.Table{ChannelID: channelID, Instance: e.server.instance(), Version: e.server.version}
	for range 1 + e.random.IntN(3) {
		uid := fmt.Sprint(e.random.IntN(4))
		if slices.ContainsFunc(table.Set, func(p *forwardingv1.Pause) bool { return p.GetUid() == uid }) ||
			slices.Contains(table.Removed, uid) {
			continue
		}
		if e.pauses[uid] != nil && e.random.IntN(4) == 0 {
			delete(e.pauses, uid)
			table.Removed = append(table.Removed, uid)

			continue
		}
		e.pauses[uid] = newPause(uid, e.side(), e.side(), func(p *forwardingv1.Pause) {
			p.Kinds = [][]forwardingv1.Kind{
				{forwardingv1.Kind_KIND_VIDEO}, {forwardingv1.Kind_KIND_AUDIO},
				{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO},
			}[e.random.IntN(3)]
		})
		table.Set = append(table.Set, e.pauses[uid])
	}
	if e.random.IntN(3) == 0 {
		table.Whole, table.Set, table.Removed = true, slices.Collect(maps.Values(e.pauses)), nil
	}

	return table
}

func (e *editor) side() *forwardingv1.Side {
	one := e.bots[e.random.IntN(len(e.bots))]
	another := e.bots[e.random.IntN(len(e.bots))]

	return []*forwardingv1.Side{
		connections(one.ConnectionID()), connections(one.ConnectionID(), another.ConnectionID()),
		clients(one.ClientID()), clients(one.ClientID(), another.ClientID()),
		everyone(), except(one.ClientID()),
	}[e.random.IntN(6)]
}

func names(side *forwardingv1.Side, b *bot.Bot) bool {
	switch names := side.GetNames().(type) {
	case *forwardingv1.Side_ConnectionIds:
		return slices.Contains(names.ConnectionIds.GetIds(), b.ConnectionID())
	case *forwardingv1.Side_ClientIds:
		return slices.Contains(names.ClientIds.GetIds(), b.ClientID())
	case *forwardingv1.Side_EveryoneExcept:
		return !slices.Contains(names.EveryoneExcept.GetClientIds(), b.ClientID())
	default:
		return true
	}
}

// TestANewcomerFindsThePauseInForce: whoever joins, even again and again, never
// gets a packet of what is withheld from everybody, while the rest flows.
func TestANewcomerFindsThePauseInForce(t *testing.T) {
	s := newServer(t, time.Hour, channel.Hold)
	camera := s.join(t, "camera")
	s.apply(newPause("1", except("assistant"), clients("camera")))
	if state := s.state("1"); state != forwardingv1.State_STATE_NOT_MATCHING {
		t.Errorf("nobody else is there, and the pause is %v", state)
	}
	assistant := s.join(t, "assistant")
	var pupils []*bot.Bot
	for range 3 {
		pupil := s.join(t, "pupil")
		eventually(t, "audio comes", comes(pupil, camera, bot.Audio))
		eventually(t, "the assistant gets the video", comes(assistant, camera, bot.Video))
		pupils = append(pupils, pupil)
	}
	for _, pupil := range pupils {
		if n := packets(pupil, camera, bot.Video); n != 0 {
			t.Errorf("a pupil got %d packets", n)
		}
	}
	states := s.registry.States(channelID, 0, 0)
	if membership := s.registry.Membership(channelID, 0, 0); states.Epoch != membership.Epoch ||
		s.state("1") != forwardingv1.State_STATE_MATCHING {
		t.Errorf("states are %v, at epoch %d", states, membership.Epoch)
	}
}

// TestEditsInARow makes hundreds of edits as fast as they go. Each draws new sides
// and kinds for some pauses, and each leaves some pause that withholds all media of
// the cameras from the walls: not one packet of that leaves, though a gap of
// microseconds comes hundreds of times.
func TestEditsInARow(t *testing.T) {
	s := newServer(t, time.Hour, channel.Hold)
	e := &editor{server: s, random: rand.New(rand.NewPCG(rand.Uint64(), 0)), pauses: map[string]*forwardingv1.Pause{}}
	for _, clientID := range []string{"wall", "wall", "camera", "camera"} {
		e.bots = append(e.bots, s.join(t, clientID))
	}
	s.apply()
	for stretch := range e.all() {
		eventually(t, stretch.String()+" flows", comes(stretch.receiver, stretch.sender, stretch.botKind()))
	}

	e.swap()
	before := e.withheld(t)
	maps.DeleteFunc(before, func(s stretch, _ int) bool {
		return s.receiver.ClientID() != "wall" || s.sender.ClientID() != "camera"
	})
	stopped := map[stretch]uint64{}
	for stretch := range before {
		stopped[stretch] = e.arrived(t, stretch)
	}
	for range 500 {
		e.swap()
	}
	after := e.withheld(t)
	for stretch, last := range before {
		if now := after[stretch]; now != last {
			t.Errorf("%v went on from %d to %d", stretch, last, now)
		}
		if n := packets(stretch.receiver, stretch.sender, stretch.botKind()); n != stopped[stretch] {
			t.Errorf("%d packets of %v arrived", n-stopped[stretch], stretch)
		}
	}
	if len(before) != 8 {
		t.Errorf("%d kinds of edges were looked at, want 8", len(before))
	}

	s.apply()
	for stretch := range e.all() {
		eventually(t, stretch.String()+" goes on", comes(stretch.receiver, stretch.sender, stretch.botKind()))
	}
}

// swap edits four pauses of which one or two, other ones each time, withhold the
// cameras from the walls.
func (e *editor) swap() {
	walls := []*forwardingv1.Side{
		clients("wall"), everyone(), except("camera"), clients("wall", "camera"),
		connections(e.bots[0].ConnectionID(), e.bots[1].ConnectionID()),
	}
	cameras := []*forwardingv1.Side{
		clients("camera"), everyone(), except("wall"), clients("camera", "nobody"),
		connections(e.bots[2].ConnectionID(), e.bots[3].ConnectionID()),
	}
	both := func(p *forwardingv1.Pause) {
		p.Kinds = []forwardingv1.Kind{forwardingv1.Kind_KIND_AUDIO, forwardingv1.Kind_KIND_VIDEO}
	}
	audio := func(p *forwardingv1.Pause) { p.Kinds = p.Kinds[:1] }
	draw := func(sides []*forwardingv1.Side) *forwardingv1.Side { return sides[e.random.IntN(len(sides))] }

	uids := []string{"0", "1", "2", "3"}
	e.random.Shuffle(len(uids), func(i, j int) { uids[i], uids[j] = uids[j], uids[i] })
	table := tables.Table{ChannelID: channelID, Instance: e.server.instance()}
	e.server.version++
	table.Version = e.server.version
	e.pauses[uids[0]] = newPause(uids[0], draw(walls), draw(cameras), both)
	e.pauses[uids[1]] = newPause(uids[1], e.side(), e.side(), both, audio)
	table.Set = append(table.Set, e.pauses[uids[0]], e.pauses[uids[1]])
	for _, uid := range uids[2:] {
		delete(e.pauses, uid)
		table.Removed = append(table.Removed, uid)
	}
	e.server.registry.Apply(table)
}
