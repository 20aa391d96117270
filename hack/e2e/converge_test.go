package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// converged is how long after the end of a fault what agreed with what was asked for
// last: all edges; and objects, their status and all lists too.
type converged struct{ edges, all time.Duration }

// slow is after how long it is told what was waited for.
const slow = 2 * time.Second

// converge waits until everything agrees with what was asked for last.
func (l *load) converge(t *testing.T, since time.Time) converged {
	t.Helper()
	var c converged
	agrees := func(what string, disagreement func(context.Context, time.Time) string) time.Duration {
		last := ""
		await(t, what+" to agree", func() (string, bool) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			wrong := disagreement(ctx, since)
			if wrong != "" {
				last = wrong
			}

			return wrong, wrong == ""
		})
		took := time.Since(since)
		if took > slow {
			t.Logf("%s: for %s it was so that %s", what, took, last)
		}

		return took
	}
	c.edges = agrees("all edges", l.edgesDisagree)
	c.all = agrees("everything", l.disagreement)

	return c
}

// edgesDisagree is the first edge that is not as it was asked for.
func (l *load) edgesDisagree(ctx context.Context, since time.Time) string {
	for _, lane := range l.lanes {
		if err := lane.takeBack(ctx); err != nil {
			return err.Error()
		}
		if _, wrong := lane.edgeDisagrees(ctx, since); wrong != "" {
			return lane.name + ": " + wrong
		}
	}

	return ""
}

// disagreement is the first thing that is not as it was asked for; empty: all is.
func (l *load) disagreement(ctx context.Context, since time.Time) string {
	for _, r := range l.guests {
		if r.here() == nil {
			return r.clientID + " is not in " + r.channel
		}
	}
	for _, channel := range l.channels {
		if _, err := l.host(ctx, channel); err != nil {
			return err.Error()
		}
	}
	pauses := &v1alpha1.RtpStreamPauseList{}
	if err := l.system.api.List(ctx, pauses, client.InNamespace(namespace)); err != nil {
		return err.Error()
	}
	paused := map[string][]pair{}
	for _, lane := range l.lanes {
		if err := lane.takeBack(ctx); err != nil {
			return err.Error()
		}
		if wrong := lane.disagreement(pauses.Items); wrong != "" {
			return lane.name + ": " + wrong
		}
		edges, wrong := lane.edgeDisagrees(ctx, since)
		if wrong != "" {
			return lane.name + ": " + wrong
		}
		paused[lane.channel] = append(paused[lane.channel], edges...)
	}
	for i := range l.system.shims {
		for _, channel := range l.channels {
			entries, err := l.listed(ctx, i, channel)
			if err != nil {
				return err.Error()
			}
			listed := make([]pair, 0, len(entries))
			for _, e := range entries {
				listed = append(listed, pair{e.RecvConnectionID, e.SendConnectionID})
			}
			if !sameSet(listed, paused[channel]) {
				return fmt.Sprintf("shim %d lists %v in %s, want %v", i, listed, channel, paused[channel])
			}
		}
	}

	return ""
}

func sameSet(a, b []pair) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(p pair) bool { return !slices.Contains(b, p) })
}

// isPaused tells whether what was asked for last matches the edge.
func (l *lane) isPaused() bool {
	wanted := l.object()

	return wanted != nil && l.matches(wanted.Spec)
}

// disagreement compares what was asked for last with the objects and their status.
func (l *lane) disagreement(pauses []v1alpha1.RtpStreamPause) string {
	wanted := l.object()
	found := false
	for i := range pauses {
		pause := &pauses[i]
		switch {
		case wanted != nil && pause.UID == wanted.UID:
			found = true
			want := v1alpha1.ReasonArmed
			if l.matches(pause.Spec) {
				want = v1alpha1.ReasonEnforced
			}
			ready := condition(pause, v1alpha1.ConditionReady)
			if pause.Generation != wanted.Generation || ready.Status != metav1.ConditionTrue || ready.Reason != want {
				return fmt.Sprintf("%s, generation %d, is Ready %s %s, want %s at %d",
					pause.Name, pause.Generation, ready.Status, ready.Reason, want, wanted.Generation)
			}
		case l.owns(pause) && l.matches(pause.Spec):
			return pause.Name + " is there, though nobody asks for it any more"
		}
	}
	if wanted != nil && !found {
		return wanted.Name + " is not there"
	}

	return ""
}

// edgeDisagrees compares what was asked for last with the edge, and returns it if it
// is paused.
func (l *lane) edgeDisagrees(ctx context.Context, since time.Time) ([]pair, string) {
	receiver, sender := l.receiver.here(), l.sender.here()
	if receiver == nil || sender == nil {
		return nil, "somebody left"
	}
	if !l.reference.sawVideoSince(l.sender, since) {
		return nil, "no video on the edge that is never paused"
	}
	told, err := explainBy(ctx, l.load.views(), l.channel, edge{receiver, sender})
	if err != nil {
		return nil, err.Error()
	}
	withheld := slices.ContainsFunc(told.GetStreams(), isPausedVideo)
	switch {
	case withheld != l.isPaused():
		return nil, fmt.Sprintf("the edge is paused: %t, want %t", withheld, l.isPaused())
	case withheld:
		return []pair{{receiver.ConnectionID(), sender.ConnectionID()}}, ""
	case !l.receiver.sawVideoSince(l.sender, since):
		return nil, "no video has come"
	}

	return nil, ""
}
