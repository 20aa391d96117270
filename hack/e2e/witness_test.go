package e2e

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// witness remembers every status that says of a pause that it is in force: Ready, and
// Enforced or Armed, at the object's generation. Both promise that no packet leaves.
type witness struct {
	api client.WithWatch

	mu   sync.Mutex
	said map[content][]statement
}

// content is one content of one object.
type content struct {
	uid        types.UID
	generation int64
}

func newWitness(api client.WithWatch) *witness {
	return &witness{api: api, said: map[content][]statement{}}
}

// run watches until ctx ends, again whenever a watch has ended: an API server that is
// taken away ends it.
func (w *witness) run(ctx context.Context) {
	for ctx.Err() == nil {
		watcher, err := w.api.Watch(ctx, &v1alpha1.RtpStreamPauseList{}, client.InNamespace(namespace))
		if err != nil {
			idle(ctx, 20*time.Millisecond)

			continue
		}
		for event := range watcher.ResultChan() {
			if pause, ok := event.Object.(*v1alpha1.RtpStreamPause); ok {
				w.see(pause, time.Now())
			}
		}
		watcher.Stop()
	}
}

// see notes what a state of an object says.
func (w *witness) see(pause *v1alpha1.RtpStreamPause, at time.Time) {
	ready, enforced := condition(pause, v1alpha1.ConditionReady), condition(pause, v1alpha1.ConditionEnforced)
	isReady := ready.Status == metav1.ConditionTrue &&
		(ready.Reason == v1alpha1.ReasonEnforced || ready.Reason == v1alpha1.ReasonArmed)
	if !isReady && enforced.Status != metav1.ConditionTrue {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := content{pause.UID, pause.Generation}
	by := "status " + ready.Reason + " of " + pause.Name
	if said := w.said[key]; len(said) == 0 || said[len(said)-1].by != by {
		w.said[key] = append(said, statement{at: at, by: by})
	}
}

// of is what statuses have said of one content.
func (w *witness) of(c content) []statement {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.said[c]

	return all[:len(all):len(all)] // Only ever appended to.
}
