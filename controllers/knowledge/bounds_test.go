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
	w := newWorld(Limits{MediaServers: 3, Channels: 3, Connections: 4, MediaServerConnections: 6, NamespaceConnections: 9, States: 3})
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
	w.acknowledge(t, s, "lobby", 1, 3, start, map[string]forwardingv1.State{"a": matching, "b": matching, "c": matching, "d": matching})
	expect("states", s, "lobby", `media server "one" has acknowledged more than 3 pauses`)
	if s.server.states != 0 {
		t.Errorf("%d states are counted", s.server.states)
	}

	w.stream(t, "three", start)
	if _, err := w.Connect("four", "first", start); !errors.Is(err, ErrTooMany) || !strings.Contains(err.Error(), "3 are known") {
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
		err := s.Acknowledge(&forwardingv1.Acknowledgement{ChannelId: fmt.Sprint(i), Instance: 1, Epoch: 1, More: true}, start)
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
