package matching_test

import (
	"fmt"
	"runtime"
	"testing"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
)

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
