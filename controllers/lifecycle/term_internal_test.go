package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// known is a Knowledge of pauses that changes when it is told.
type known struct {
	Knowledge

	pauses map[types.NamespacedName]*held.Pause

	mu      sync.Mutex
	enqueue func(types.NamespacedName, bool)
}

func (k *known) tell(name types.NamespacedName, low bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.enqueue(name, low)
}

func (k *known) Pause(name types.NamespacedName) *held.Pause { return k.pauses[name] }

func (k *known) Watch(enqueue func(types.NamespacedName, bool)) (stop func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.enqueue = enqueue
	for name := range k.pauses {
		enqueue(name, true)
	}

	return func() {}
}

// What concerns all pauses there are costs a new writer nothing until it can know
// better than its predecessor; what concerns one does not wait.
func TestANewWriterLooksAtTheManyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pauses = 1000
		k := &known{pauses: map[types.NamespacedName]*held.Pause{}}
		for i := range pauses {
			object := &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: fmt.Sprint(i), Generation: 1}}
			object.Status = nextStatus(object, knowledge.Verdict{Reason: v1alpha1.ReasonEnforced, Matching: []string{"ms"}}, 1)
			if i == 0 {
				object.Generation = 2 // Edited since.
			}
			k.pauses[name(i)] = held.New(object)
		}
		q := newQueue()
		defer q.close()
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		r := &reconciler{knowledge: k, inOffice: time.Now()}
		go func() {
			defer close(ended)
			follow(ctx, q, r)
		}()
		synctest.Wait()
		for n := range k.pauses {
			k.tell(n, true) // Its media server is back.
		}
		k.tell(name(1), false)
		if l, m := q.depth(live), q.depth(mass); l != 1 || m != 1 {
			t.Errorf("%d live and %d of the many are ready, want the one changed and the one edited", l, m)
		}
		time.Sleep(knowledge.OfficeBeforeArmed)
		synctest.Wait()
		if l, m := q.depth(live), q.depth(mass); l != 1 || m != pauses-1 {
			t.Errorf("%d live and %d of the many are ready, want all %d", l, m, pauses)
		}
		k.tell(name(2), false)
		if l := q.depth(live); l != 2 {
			t.Errorf("%d live are ready after another change, want 2", l)
		}
		end()
		<-ended
	})
}
