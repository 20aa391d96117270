package e2e

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// during looks again and again for that long whether something goes on being so.
func during(t *testing.T, length time.Duration, look func()) {
	t.Helper()
	end := time.NewTimer(length)
	defer end.Stop()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !t.Failed() {
		look()
		select {
		case <-ticker.C:
		case <-end.C:
			return
		}
	}
}

// actedAfter returns how long after a moment the last packet came over the edge,
// and notes the cut. What was asked for at that moment is enforced.
func (w *observation) actedAfter(t *testing.T, asked time.Time) time.Duration {
	t.Helper()
	w.findCut(t)
	var longest time.Duration
	for _, kind := range w.paused {
		all := w.edge.arrivals(kind)
		longest = max(longest, all[len(all)-1].at.Sub(asked))
	}

	return longest
}

// flowsAfter waits until video comes over the edge and returns how long after a
// moment it did first.
func (w *observation) flowsAfter(t *testing.T, asked time.Time) time.Duration {
	t.Helper()
	w.edge.awaitTotal(t, bot.Video, w.cut[bot.Video]+1)

	return w.edge.arrivals(bot.Video)[w.cut[bot.Video]].at.Sub(asked)
}

// pausedNow creates a pause of the observed edge and returns it with the time
// until the last packet came.
func (w *observation) pausedNow(t *testing.T, name string) (*v1alpha1.RtpStreamPause, time.Duration) {
	t.Helper()
	asked := time.Now()
	pause := w.system.createPause(t, name, clientSpec(w.channel, w.edge.receiver.ClientID(), w.edge.sender.ClientID()))
	w.system.waitEnforced(t, pause.UID)

	return pause, w.actedAfter(t, asked)
}

// enforced creates a pause of the edge and returns it, with the observation that
// nothing more comes over the edge.
func (m *meeting) enforced(t *testing.T, name string, e edge) (*v1alpha1.RtpStreamPause, *observation) {
	t.Helper()
	w := m.watchEdge(t, e, e, bot.Video)
	pause, _ := w.pausedNow(t, name)
	m.system.awaitReady(t, pause, v1alpha1.ReasonEnforced)

	return pause, w
}

// story is every state of one object that a watcher saw.
type story struct {
	watcher watch.Interface
	done    chan struct{}
	states  []v1alpha1.RtpStreamPause // To be read once done is closed.
}

// follow watches the object until told is called.
func (s *system) follow(t *testing.T, pause *v1alpha1.RtpStreamPause) *story {
	t.Helper()
	watcher, err := s.api.Watch(t.Context(), &v1alpha1.RtpStreamPauseList{}, &client.ListOptions{
		Namespace: namespace, FieldSelector: fields.OneTermEqualSelector("metadata.name", pause.Name),
	})
	if err != nil {
		t.Fatal(err)
	}

	return tell(t, watcher)
}

// tell keeps what a watcher sees.
func tell(t *testing.T, watcher watch.Interface) *story {
	t.Helper()
	st := &story{watcher: watcher, done: make(chan struct{})}
	go func() {
		defer close(st.done)
		for event := range watcher.ResultChan() {
			if state, ok := event.Object.(*v1alpha1.RtpStreamPause); ok {
				st.states = append(st.states, *state)
			}
		}
	}()
	t.Cleanup(func() { st.told() })

	return st
}

// told ends the watch and returns every state.
func (st *story) told() []v1alpha1.RtpStreamPause {
	st.watcher.Stop()
	<-st.done

	return st.states
}
