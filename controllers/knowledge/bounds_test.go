package knowledge

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// refusals are the reasons that wait to be written, by channel.
func refusals(s *Session) map[string]string {
	reasons := map[string]string{}
	for _, next := range drain(s) {
		if next.Refusal != nil {
			reasons[next.Refusal.GetChannelId()] = next.Refusal.GetReason()
		}
	}

	return reasons
}

func TestEachBoundNamesItselfAndTheOthersGoOn(t *testing.T) {
	w := newWorld(Limits{
		MediaServers: 3, Channels: 3, Connections: 4, MediaServerConnections: 6, NamespaceConnections: 9, States: 3,
	})
	w.list()
	for _, name := range []string{"a", "b", "c", "d"} {
		w.create(name)
	}
	s := w.stream(t, "one", start, reportOf("lobby", 1, 1, 0, "R", "S", "T", "U"))
	drain(s)
	expect := func(what string, s *Session, channelID, want string) {
		t.Helper()
		if reason := refusals(s)[channelID]; !strings.Contains(reason, want) || want == "" && reason != "" {
			t.Errorf("%s: refused for %q, want %q", what, reason, want)
		}
	}
	must(t, s.Report(reportOf("hall", 1, 1, 0, "1", "2", "3"), start))
	expect("connections of a media server", s, "hall", `media server "one" has more than 6 connections`)
	must(t, s.Report(reportOf("hall", 1, 2, 0, "1"), start))
	expect("fewer", s, "hall", "")
	must(t, s.Report(reportOf("hall", 1, 3, 2, "2", "3"), start))
	expect("connections of a media server, by a difference", s, "hall", `media server "one" has more than 6 connections`)
	must(t, s.Report(reportOf("lobby", 1, 2, 1, "V"), start))
	expect("connections of a channel, by a difference", s, "lobby", `channel "lobby" has more than 4 connections`)
	if v := w.Judge(w.objects["a"], start.Add(-LossGrace), start); v.Reason != v1alpha1.ReasonNotAcknowledged {
		t.Errorf("a pause of a channel that is refused is %s", v.Reason)
	}
	if w.connections != 0 || len(w.departed.at) != 0 {
		t.Errorf("%d connections are counted, %d have left", w.connections, len(w.departed.at))
	}
	must(t, s.Report(reportOf("lobby", 1, 3, 0, "R", "S", "T", "V"), start))
	expect("lifted", s, "lobby", "")

	other := w.stream(t, "two", start, reportOf("foyer", 1, 1, 0, "1", "2", "3", "4"))
	drain(other)
	must(t, other.Report(reportOf("attic", 2, 1, 0, "5", "6"), start))
	expect("connections of a namespace", other, "attic", `namespace "tenant" has more than 9 connections`)

	w.acknowledge(t, s, "lobby", 1, 3, start, map[string]forwardingv1.State{"a": matching, "b": matching, "c": matching})
	if v := w.Judge(w.objects["a"], start, start); v.Reason != v1alpha1.ReasonEnforced {
		t.Errorf("within the bounds it is %s", v.Reason)
	}
	w.acknowledge(t, s, "lobby", 1, 3, start, map[string]forwardingv1.State{"b": matching, "c": matching, "d": matching})
	expect("as many states as before", s, "lobby", "")
	w.acknowledge(t, s, "lobby", 1, 3, start, map[string]forwardingv1.State{
		"a": matching, "b": matching, "c": matching, "d": matching,
	})
	expect("states", s, "lobby", `media server "one" has acknowledged more than 3 pauses`)
	if s.server.states != 0 {
		t.Errorf("%d states are counted", s.server.states)
	}

	w.stream(t, "three", start)
	if _, err := w.Connect(Introduction{Name: "four", Incarnation: "first"}, start); !errors.Is(err, ErrTooMany) ||
		!strings.Contains(err.Error(), "3 are known") {
		t.Errorf("a media server beyond the bound: %v", err)
	}
	if w.Streaming() != 3 {
		t.Errorf("%d media servers stream", w.Streaming())
	}
}

func TestPartsOfManyChannelsAreBounded(t *testing.T) {
	w := listed()
	s := w.connect(t, "ms", "first", start)
	for i := range assemblies {
		r := reportOf(fmt.Sprint(i), 1, 1, 0, "R")
		r.More = true
		must(t, s.Report(r, start))
	}
	r := reportOf("more", 1, 1, 0, "R")
	r.More = true
	if err := s.Report(r, start); !errors.Is(err, ErrInvalid) {
		t.Errorf("one more report in parts: %v", err)
	}
	if err := s.Complete(start); !errors.Is(err, ErrInvalid) {
		t.Errorf("complete between parts: %v", err)
	}
	for i := range assemblies + 1 {
		err := s.Acknowledge(&forwardingv1.Acknowledgement{
			ChannelId: fmt.Sprint(i), Instance: 1, Epoch: 1, More: true,
		}, start)
		if i < assemblies && err != nil || i == assemblies && !errors.Is(err, ErrInvalid) {
			t.Errorf("acknowledgement %d in parts: %v", i, err)
		}
	}
}

// What is acknowledged about an epoch, or to a base, that is not held here is
// asked for again, and counts for nothing.
func TestAcknowledgementsOfWhatIsNotHeldAreAskedForAgain(t *testing.T) {
	w := listed()
	w.create("u")
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 3, 0, "R", "S"))
	digest, _ := content(w.objects["u"])
	for name, a := range map[string]*forwardingv1.Acknowledgement{
		"a later epoch":         {ChannelId: "lobby", Instance: 1, Epoch: 4, Whole: true},
		"a difference at first": {ChannelId: "lobby", Instance: 1, Epoch: 3},
	} {
		drain(s)
		a.Set = []*forwardingv1.PauseState{{Uid: string(w.objects["u"].UID), Digest: digest[:], State: matching}}
		must(t, s.Acknowledge(a, start))
		if out := drain(s); len(out) != 1 || out[0].Resend.GetChannelId() != "lobby" {
			t.Errorf("%s: written were %+v", name, out)
		}
		if v := w.Judge(w.objects["u"], start, start); v.Reason != v1alpha1.ReasonNotAcknowledged {
			t.Errorf("%s makes it %s", name, v.Reason)
		}
	}
}

// What the media servers of a namespace hold together is bounded, and what each says
// is bounded in bytes, whatever the entries.
func TestEachBoundOfANamespaceAndOfBytesNamesItselfAndTheOthersGoOn(t *testing.T) {
	w := newWorld(Limits{NamespaceChannels: 3, NamespaceStates: 3, ConnectionBytes: 1000, NamespaceConnectionBytes: 1500})
	w.list()
	for _, name := range []string{"a", "b", "c", "d"} {
		w.create(name)
	}
	one := w.stream(t, "one", start, reportOf("lobby", 1, 1, 0, "R", "S"), reportOf("hall", 2, 1, 0, "1"))
	two := w.stream(t, "two", start, reportOf("lobby", 1, 1, 0, "T"))
	drain(one)
	drain(two)
	expect := func(what string, s *Session, channelID, want string) {
		t.Helper()
		if reason := refusals(s)[channelID]; !strings.Contains(reason, want) || want == "" && reason != "" {
			t.Errorf("%s: refused for %q, want %q", what, reason, want)
		}
	}
	must(t, two.Report(reportOf("attic", 2, 1, 0, "2"), start))
	expect("channels of a namespace", two, "attic", `namespace "tenant" host more than 3 channels`)
	must(t, one.Report(&forwardingv1.ChannelReport{ChannelId: "hall", Instance: 2, Closed: true}, start))
	must(t, two.Report(reportOf("attic", 2, 1, 0, "2"), start))
	expect("one less", two, "attic", "")

	w.acknowledge(t, one, "lobby", 1, 1, start, map[string]forwardingv1.State{"a": matching, "b": matching})
	w.acknowledge(t, two, "lobby", 1, 1, start, map[string]forwardingv1.State{"a": matching})
	expect("states within the bound", two, "lobby", "")
	w.acknowledge(t, two, "lobby", 1, 1, start, map[string]forwardingv1.State{"a": matching, "b": matching})
	expect("states of a namespace", two, "lobby", `namespace "tenant" have acknowledged more than 3 pauses`)
	if w.states != 2 || one.server.states != 2 || two.server.states != 0 {
		t.Errorf("%d states are counted, %d and %d", w.states, one.server.states, two.server.states)
	}
	must(t, two.Report(reportOf("lobby", 1, 2, 0, "T"), start))
	drain(two)

	large := func(channelID string, epoch, base uint64, id string, bytes int) *forwardingv1.ChannelReport {
		r := reportOf(channelID, 1, epoch, base, id)
		r.Joined[0].SessionId = strings.Repeat("x", bytes)

		return r
	}
	must(t, one.Report(large("lobby", 2, 1, "U", 1000), start))
	expect("bytes of a media server", one, "lobby", `connections of media server "one" have more than 1000 bytes`)
	must(t, one.Report(large("lobby", 3, 0, "U", 900), start))
	expect("fewer bytes", one, "lobby", "")
	must(t, one.Report(large("lobby", 4, 3, "U", 100), start)) // The same one, with other words.
	must(t, one.Report(large("lobby", 5, 4, "U", 900), start))
	expect("as many bytes as before", one, "lobby", "")
	must(t, two.Report(large("lobby", 3, 2, "V", 700), start))
	expect("bytes of a namespace", two, "lobby", `connections of namespace "tenant" have more than 1500 bytes`)
	if w.connections != 2 || w.hosted != 3 || w.connectionBytes != one.server.connectionBytes+two.server.connectionBytes {
		t.Errorf("%d connections are counted, %d channels hosted, %d bytes", w.connections, w.hosted, w.connectionBytes)
	}

	for _, s := range []*Session{one, two} {
		s.Farewell(start)
		s.Close(start)
	}
	if w.connections+w.connectionBytes+w.hosted+w.states != 0 {
		t.Errorf("of nobody %d connections of %d bytes, %d channels, %d states are counted", w.connections,
			w.connectionBytes, w.hosted, w.states)
	}
}

// Messages that never end take a bounded part of memory: what goes beyond it is not
// kept, and refuses its channel in the end; the others go on.
func TestPartsAreBoundedInBytes(t *testing.T) {
	w := newWorld(Limits{PartBytes: 20_000})
	w.list(w.pause("a"))
	s := w.stream(t, "ms", start, reportOf("lobby", 1, 1, 0, "R"), reportOf("hall", 2, 1, 0, "1"))
	drain(s)
	part := func(channelID string, from int) *forwardingv1.ChannelReport {
		r := reportOf(channelID, 3, 2, 0)
		for i := range 20 {
			r.Joined = append(r.Joined, member(fmt.Sprint(from+i)))
		}
		r.More = true

		return r
	}
	states := func(channelID string, instance uint64, from int) *forwardingv1.Acknowledgement {
		a := &forwardingv1.Acknowledgement{ChannelId: channelID, Instance: instance, Epoch: 1, Whole: true, More: true}
		for i := range 20 {
			a.Set = append(a.Set, &forwardingv1.PauseState{
				Uid: fmt.Sprint(from + i), Digest: make([]byte, forwardingv1.DigestBytes), State: matching,
			})
		}

		return a
	}
	for i := range 100 {
		must(t, s.Report(part("foyer", 20*i), start))
		must(t, s.Acknowledge(states("hall", 2, 20*i), start))
		if s.partBytes > 20_000 {
			t.Fatalf("%d bytes are taken", s.partBytes)
		}
	}
	if len(s.reports["foyer"].joined)+len(s.acknowledgements["hall"].set) > 0 || s.partBytes != 0 {
		t.Errorf("%d connections and %d states are kept, %d bytes counted", len(s.reports["foyer"].joined),
			len(s.acknowledgements["hall"].set), s.partBytes)
	}
	// Another channel's is taken meanwhile.
	whole := part("attic", 0)
	must(t, s.Report(whole, start))
	whole = part("attic", 20)
	whole.More = false
	must(t, s.Report(whole, start))
	w.acknowledge(t, s, "lobby", 1, 1, start, map[string]forwardingv1.State{"a": matching})
	if reasons := refusals(s); len(reasons) != 0 || len(w.Connections("attic", nil, nil).Connections) != 40 {
		t.Errorf("refused are %v", reasons)
	}
	last, all := part("foyer", 0), states("hall", 2, 0)
	last.More, all.More = false, false
	must(t, s.Report(last, start))
	must(t, s.Acknowledge(all, start))
	reasons := refusals(s)
	const tooLarge = ` of media server "ms" that are not finished take more than 20000 bytes`
	if !strings.Contains(reasons["foyer"], "the reports"+tooLarge) ||
		!strings.Contains(reasons["hall"], "the acknowledgements"+tooLarge) || len(reasons) != 2 {
		t.Errorf("refused are %v", reasons)
	}
	// One that is closed gives back what its parts took.
	must(t, s.Report(part("cellar", 0), start))
	must(t, s.Report(&forwardingv1.ChannelReport{ChannelId: "cellar", Instance: 3, Closed: true}, start))
	if s.partBytes != 0 {
		t.Errorf("%d bytes are counted", s.partBytes)
	}
}
