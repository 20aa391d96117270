package lifecycle

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func name(i int) types.NamespacedName {
	return types.NamespacedName{Namespace: "n", Name: fmt.Sprint(i)}
}

// taken takes without waiting; the queue must have something ready.
func taken(t *testing.T, q *queue) types.NamespacedName {
	t.Helper()
	if q.depth(live)+q.depth(due)+q.depth(mass) == 0 {
		t.Fatal("nothing is ready")
	}
	n, ok := q.take()
	if !ok {
		t.Fatal("closed")
	}

	return n
}

func TestAMassEffectLeavesNoMemoryBehind(t *testing.T) {
	q := newQueue()
	defer q.close()
	before := inUse()
	for i := range 100_000 {
		q.add(name(i), mass)
	}
	for range 100_000 {
		q.done(taken(t, q), next{})
	}
	if after := inUse(); after > before+1<<20 {
		t.Errorf("%d bytes are in use, %d were before", after, before)
	}
	q.add(name(1), live)
	if got := taken(t, q); got != name(1) {
		t.Errorf("taken is %s", got)
	}
}

// inUse is the memory of what is reachable.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)

	return m.HeapAlloc
}

func TestALiveChangeIsNotBehindAMassEffect(t *testing.T) {
	q := newQueue()
	defer q.close()
	for i := range 100_000 {
		q.add(name(i), mass)
	}
	for i := range 50 {
		// One that the mass effect has touched too: it moves to the front.
		want := name(100_000 + i)
		if i%2 == 1 {
			want = name(99_000 + i)
		}
		q.add(want, live)
		for looked := 1; ; looked++ {
			got := taken(t, q)
			q.done(got, next{})
			if got == want {
				break
			}
			if looked == 3 {
				t.Fatalf("%d of a mass effect were handed out before a live change", looked)
			}
		}
	}
}

func TestAMassEffectLeavesWorkersToOthers(t *testing.T) {
	q := newQueue()
	defer q.close()
	for i := range 1000 {
		q.add(name(i), mass)
	}
	for range bulkLimit {
		taken(t, q)
	}
	got := make(chan types.NamespacedName)
	go func() {
		for range 2 {
			n, _ := q.take()
			got <- n
		}
	}()
	q.add(name(5000), live)
	if first := <-got; first != name(5000) {
		t.Errorf("%s was handed out, the %dth of a mass effect", first, bulkLimit+1)
	}
	q.done(name(0), next{})
	if second := <-got; second != name(bulkLimit) {
		t.Errorf("%s was handed out once one was done", second)
	}
}

// The trap of strict priorities: who is kept busy by what is high never comes to
// what is low.
func TestNoLevelIsStarved(t *testing.T) {
	q := newQueue()
	defer q.close()
	for i := range 1000 {
		q.add(name(i), mass)
		q.add(name(10_000+i), due)
	}
	const takes = 800
	seen := map[string]int{}
	for i := range takes {
		q.add(name(1_000_000+i), live)
		q.add(name(2_000_000+i), live)
		got := taken(t, q)
		q.done(got, next{})
		seen[got.Name[:1]+fmt.Sprint(len(got.Name))]++
	}
	massTaken, dueTaken := 0, 0
	for key, count := range seen {
		switch key[1:] {
		case "1", "2", "3", "4":
			massTaken += count
		case "5":
			dueTaken += count
		}
	}
	if massTaken != takes/8 || dueTaken != takes/8 {
		t.Errorf("of %d turns beside a flood of live changes a mass effect had %d and what was due %d; want an eighth each",
			takes, massTaken, dueTaken)
	}
}

func TestAPauseIsHeldOnceAndHandedToOneWorker(t *testing.T) {
	q := newQueue()
	defer q.close()
	for range 5 {
		q.add(name(1), live)
		q.add(name(1), mass)
	}
	first := taken(t, q)
	q.add(first, mass)
	q.add(first, live)
	if waiting := q.depth(live) + q.depth(mass); waiting != 0 {
		t.Fatalf("%d ready while a worker has the only one", waiting)
	}
	q.done(first, next{})
	if q.depth(live) != 1 || q.depth(mass) != 0 {
		t.Fatalf("touched meanwhile: %d live, %d mass; want it once, live", q.depth(live), q.depth(mass))
	}
	q.done(taken(t, q), next{})
	if len(q.entries) != 0 {
		t.Errorf("%d entries are kept of what is done", len(q.entries))
	}
}

func TestTimesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		begun := time.Now()
		type event struct {
			name string
			at   time.Duration
		}
		var got []event
		var worker sync.WaitGroup
		plans := map[string][]next{
			"1": {{at: begun.Add(time.Hour), level: due}, {}},
			"2": {{failed: true}, {failed: true}, {failed: true}, {}},
			"3": {{at: begun.AddDate(7000, 0, 0), level: due}, {at: begun.Add(time.Minute), level: mass}, {}},
		}
		worker.Go(func() {
			for {
				n, ok := q.take()
				if !ok {
					return
				}
				got = append(got, event{n.Name, time.Since(begun)})
				plan := plans[n.Name]
				plans[n.Name] = plan[1:]
				q.done(n, plan[0])
			}
		})
		for i := range 3 {
			q.add(name(i+1), live)
		}
		synctest.Wait()
		q.add(name(3), live) // Touched: what it was to wait for is replaced.
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		q.close()
		worker.Wait()
		want := []event{
			{"1", 0}, {"2", 0}, {"3", 0}, {"3", 0},
			{"2", 100 * time.Millisecond}, {"2", 300 * time.Millisecond}, {"2", 700 * time.Millisecond},
			{"3", time.Minute}, {"1", time.Hour},
		}
		if !slices.Equal(got, want) {
			t.Errorf("looked at\n%v, want\n%v", got, want)
		}
	})
}
