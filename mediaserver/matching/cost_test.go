package matching_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
)

// TestWhatAStepCosts holds the fastest of many steps against bounds with room for a
// machine that is slow or busy; the benchmarks tell the times.
func TestWhatAStepCosts(t *testing.T) {
	const connections, tries = 10_000, 30
	m := matching.New()
	for i := range connections {
		m.Join(connection(i))
	}
	pauses := openPauses(50)
	for i := range 20_000 {
		pauses = append(pauses, edgePause(fmt.Sprint(i), stage+i%(connections-stage), i%stage))
	}
	m.Apply(pauses, nil, noon)

	fastest := func(what string, bound time.Duration, step, undo func()) {
		t.Helper()
		best := time.Hour
		for range tries {
			begin := time.Now()
			step()
			best = min(best, time.Since(begin))
			undo()
		}
		if best > bound {
			t.Errorf("%s takes %v, want %v at most", what, best, bound)
		}
		t.Logf("%s takes %v", what, best)
	}
	fastest("a join with its 100 edges", 5*time.Millisecond,
		func() { join(m, connections, connections) }, func() { m.Leave(connectionID(connections)) })
	fastest("one pause of one edge", 500*time.Microsecond,
		func() { m.Apply([]*forwardingv1.Pause{edgePause("one", 5, 7)}, nil, noon) }, func() {
			m.Apply(nil, []string{"one"},
				noon)
		})
}

// TestWhatASurveyTakes bounds the memory in which the edges of many pauses with the
// same open receivers are counted: not every pause stands beside every receiver.
func TestWhatASurveyTakes(t *testing.T) {
	const connections, pauses = 3_000, 3_000
	m := matching.New()
	set := make([]*forwardingv1.Pause, pauses)
	for i := range connections {
		m.Join(connection(i))
	}
	for i := range set {
		set[i] = openPause(fmt.Sprint(i), i%stage)
	}
	m.Apply(set, nil, noon)
	survey := m.Survey(forwardingv1.Kind_KIND_VIDEO)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, count := survey.Withheld(10)
	runtime.ReadMemStats(&after)
	if count == 0 {
		t.Error("nothing is withheld")
	}
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 16 {
		t.Errorf("it takes %d MiB", took)
	}
}
