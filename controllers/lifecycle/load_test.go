package lifecycle_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// Statuses keep up with creations, and a live change does not wait for the
// statuses of all others to be rewritten.
func TestStatusKeepsUpAndALiveChangeOvertakesAMassEffect(t *testing.T) {
	const pauses, creators = 600, 8
	ns := namespace(t)
	known := newActing(t, ns)
	e := elect(t, plane.Config, known, ns)
	eventually(t, "in office", func() bool { return e.inOffice(t) })
	// Counted in what is stored: a write may arrive though its answer does not.
	stored := func(reason string) (count int) {
		for n := range pauses {
			if o := known.Get(fmt.Sprint(n)); o != nil {
				if ready := meta.FindStatusCondition(o.Object().Status.Conditions, v1alpha1.ConditionReady); ready != nil &&
					ready.Reason == reason {
					count++
				}
			}
		}

		return count
	}
	began := time.Now()
	var creating sync.WaitGroup
	for c := range creators {
		creating.Go(func() {
			for n := c; n < pauses; n += creators {
				pauseIn(t, ns, fmt.Sprint(n), nil)
			}
		})
	}
	creating.Wait()
	created := time.Since(began)
	eventually(t, "all statuses are written", func() bool { return stored(v1alpha1.ReasonArmed) == pauses })
	t.Logf("%d pauses created at %.0f/s, the last status %s later", pauses, pauses/created.Seconds(),
		(time.Since(began) - created).Round(time.Millisecond))

	// Everything changes at once, by one cause.
	known.judge("", knowledge.Verdict{Reason: v1alpha1.ReasonEnforced, Matching: []string{"ms"}})
	mass := time.Now()
	for n := range pauses {
		known.tell(fmt.Sprint(n), true)
	}
	live := pauseIn(t, ns, "live", nil)
	written := version(t, waitReason(t, live, v1alpha1.ReasonEnforced).ResourceVersion)
	took := time.Since(mass)
	eventually(t, "the mass effect is done", func() bool { return stored(v1alpha1.ReasonEnforced) == pauses })
	// By the order of the writes: on a busy machine they are looked at late.
	overtaken := 0
	for n := range pauses {
		if version(t, known.Get(fmt.Sprint(n)).ResourceVersion) > written {
			overtaken++
		}
	}
	if overtaken == 0 {
		t.Errorf("the live change came after all of the mass effect")
	}
	t.Logf("a live change took %s and overtook %d of a mass effect of %d, which took %s", took.Round(time.Millisecond),
		overtaken, pauses, time.Since(mass).Round(time.Millisecond))
}

func version(t *testing.T, of string) uint64 {
	t.Helper()
	version, err := strconv.ParseUint(of, 10, 64)
	if err != nil {
		t.Fatal(err)
	}

	return version
}
