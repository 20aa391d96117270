package lifecycle

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func in(namespace string, i int) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(i)}
}

// What one namespace has waiting, however much, is in no other's way, at no level.
func TestTheNamespacesHaveTheirTurns(t *testing.T) {
	for l := range levels {
		q := newQueue()
		for i := range 5000 {
			q.add(in("rogue", i), l)
		}
		for i := range 100 {
			q.add(in("one", i), l)
			q.add(in("two", i), l)
		}
		got := map[string]int{}
		for range 300 {
			n := taken(t, q)
			got[n.Namespace]++
			q.done(n, next{})
		}
		if got["one"] != 100 || got["two"] != 100 {
			t.Errorf("level %d: of 300 turns each of three namespaces is to have 100: %v", l, got)
		}
		for range 100 {
			q.done(taken(t, q), next{})
		}
		q.add(in("one", 0), l)
		for i := range 2 {
			n := taken(t, q)
			q.done(n, next{})
			if n.Namespace == "one" {
				break
			} else if i == 1 {
				t.Errorf("level %d: a change waited for more than one of another namespace's", l)
			}
		}
		q.close()
	}
}

// A namespace in which every write hangs leaves half of the workers, and half of
// those at mass effects, to the others; one that is alone has them all.
func TestANamespaceHasHalfOfTheWorkers(t *testing.T) {
	for l, all := range map[level]int{live: workers, due: workers, mass: bulkLimit} {
		q := newQueue()
		for i := range 100 {
			q.add(in("alone", i), l)
		}
		for range all {
			taken(t, q)
		}
		q.close()

		q = newQueue()
		q.add(in("other", 0), live)
		q.done(taken(t, q), next{})
		for i := range 100 {
			q.add(in("rogue", i), l)
		}
		var hanging []types.NamespacedName
		for range all / 2 {
			hanging = append(hanging, taken(t, q))
		}
		for i := range all / 2 {
			q.add(in("other", i), l)
			if n := taken(t, q); n.Namespace != "other" {
				t.Fatalf("level %d: %s has worker %d of %d", l, n.Namespace, all/2+1, all)
			}
		}
		// Who ends one gets the next.
		q.done(hanging[0], next{})
		if n := taken(t, q); n.Namespace != "rogue" {
			t.Errorf("level %d: the namespace's next is not taken once one has ended", l)
		}
		q.close()
	}
}

// A namespace whose writes fail rests; no worker does. With 100,000 pauses that are
// to be written it costs a try every two seconds, and all once it is mended.
func TestANamespaceThatFailsRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pauses = 100_000
		q := newQueue()
		var broken atomic.Bool
		var tries, others atomic.Int64
		broken.Store(true)
		var working sync.WaitGroup
		for range workers {
			working.Go(func() {
				for {
					n, ok := q.take()
					if !ok {
						return
					}
					if n.Namespace == "other" {
						others.Add(1)
						q.done(n, next{wrote: true})

						continue
					}
					tries.Add(1)
					failed := broken.Load()
					q.done(n, next{failed: failed, barred: failed, wrote: !failed})
				}
			})
		}
		for i := range pauses {
			q.add(in("broken", i), level(i%int(levels)))
		}
		synctest.Wait()
		if tries.Load() > workers {
			t.Errorf("%d tries at once", tries.Load())
		}
		tries.Store(0)
		for i := range 600 {
			time.Sleep(100 * time.Millisecond)
			q.add(in("other", i), live)
			synctest.Wait()
			if others.Load() != int64(i)+1 {
				t.Fatal("a change of the other namespace waits")
			}
		}
		if count := tries.Load(); count < 30 || count > 40 {
			t.Errorf("a namespace that fails was tried %d times in a minute", count)
		}
		broken.Store(false)
		tries.Store(0)
		time.Sleep(longestRest + lastRetry)
		synctest.Wait()
		if tries.Load() != pauses {
			t.Errorf("once it was mended %d of %d were written", tries.Load(), pauses)
		}
		q.close()
		working.Wait()
	})
}

// What fails for reasons of its own leaves the namespace its turns.
func TestAPauseThatFailsByItselfHoldsUpNoOther(t *testing.T) {
	q := newQueue()
	defer q.close()
	for i := range 10 {
		q.add(in("n", i), live)
	}
	for range 10 {
		q.done(taken(t, q), next{failed: true})
	}
}
