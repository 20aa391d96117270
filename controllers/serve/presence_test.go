package serve

import (
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

var start = time.Unix(1_000_000, 0)

func learnedNever(string) time.Time { return time.Time{} }

// One pause on the edge from S to R, as the media servers' words make it stand.
func reasonOf(p *presence, generation int64, now time.Time) string {
	pause := &forwardingv1.Pause{Uid: "u", Generation: generation, RecvConnectionId: "R", SendConnectionId: "S"}

	return tables.Judge(pause, p.of("lobby", "u"), start.Add(-time.Hour), now).Reason
}

func enforcing(t *testing.T) (*presence, *stream) {
	t.Helper()
	p := newPresence(func(string) {}, learnedNever)
	st := &stream{mediaServer: "ms"}
	p.connect(st, start)
	p.report(st, lobby("R", "S"), start)
	p.complete(st, start)
	if got := reasonOf(p, 1, start); got != v1alpha1.ReasonNotAcknowledged {
		t.Fatalf("reported: %s", got)
	}
	p.acknowledge(st, acknowledgedEdge("R", "S").GetAcknowledgement(), start)
	if got := reasonOf(p, 1, start); got != v1alpha1.ReasonEnforced {
		t.Fatalf("acknowledged: %s", got)
	}
	if got := reasonOf(p, 2, start); got != v1alpha1.ReasonNotAcknowledged {
		t.Fatalf("an older generation acknowledged: %s", got)
	}

	return p, st
}

func lobby(ids ...string) *forwardingv1.ChannelReport {
	report := &forwardingv1.ChannelReport{ChannelId: "lobby"}
	for _, id := range ids {
		report.Connections = append(report.Connections, &forwardingv1.Connection{ConnectionId: id, Role: forwardingv1.Role_ROLE_SENDRECV})
	}

	return report
}

func TestReconnectedMediaServerIsOutOfTouchUntilItReports(t *testing.T) {
	p, first := enforcing(t)
	at := start.Add(time.Minute)
	expect := func(what, want string) {
		t.Helper()
		if got := reasonOf(p, 1, at); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	p.disconnect(first, at)
	expect("lost", v1alpha1.ReasonMediaServerLost)
	second := &stream{mediaServer: "ms"}
	p.connect(second, at)
	expect("said its name", v1alpha1.ReasonMediaServerLost)
	p.report(second, lobby("R", "S"), at)
	expect("reported again", v1alpha1.ReasonEnforced)
	p.complete(second, at)
	expect("complete", v1alpha1.ReasonEnforced)

	third := &stream{mediaServer: "ms"}
	if p.connect(third, at) != second {
		t.Error("the stream that was replaced is not named")
	}
	expect("replaced", v1alpha1.ReasonMediaServerLost)
	p.report(second, lobby(), at)
	p.disconnect(second, at)
	expect("the replaced stream's last words", v1alpha1.ReasonMediaServerLost)
	at = at.Add(tables.KnownAfterLoss)
	expect("never reported again", v1alpha1.ReasonArmed)
	if _, gone := p.departure("S"); gone {
		t.Error("silence is taken for a departure")
	}
	p.forget(at, tables.KnownAfterLoss)
	if _, gone := p.departure("S"); !gone || p.streaming() != 1 {
		t.Error("a media server that only says its name keeps what it hosted before")
	}
}

func TestRestartedMediaServerHostsOnlyWhatItReports(t *testing.T) {
	p, first := enforcing(t)
	at := start.Add(time.Minute)
	p.disconnect(first, at)
	second := &stream{mediaServer: "ms"}
	p.connect(second, at)
	p.report(second, &forwardingv1.ChannelReport{ChannelId: "another", Connections: lobby("X").GetConnections()}, at)
	if got := reasonOf(p, 1, at); got != v1alpha1.ReasonMediaServerLost {
		t.Errorf("before the report is complete: %s", got)
	}
	p.complete(second, at)
	if got := reasonOf(p, 1, at); got != v1alpha1.ReasonArmed {
		t.Errorf("complete without the channel: %s", got)
	}
	for _, id := range []string{"R", "S"} {
		if left, gone := p.departure(id); !gone || !left.Equal(at) {
			t.Errorf("%s left at %v, %v", id, left, gone)
		}
	}
}
