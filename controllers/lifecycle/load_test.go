package lifecycle_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// Statuses keep up with creations, and a live change does not wait for the
// statuses of all others to be rewritten.
func TestStatusKeepsUpAndALiveChangeOvertakesAMassEffect(t *testing.T) {
	const pauses, creators = 600, 8
	ns := namespace(t)
	known := newHeld(t, ns)
	e := elect(t, plane.Config, known, ns)
	eventually(t, "in office", func() bool { return e.inOffice(t) })
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
	writes := func(n float64) func() bool {
		return func() bool { return e.counted(t, "nagi_pause_status_writes_total") >= n }
	}
	eventually(t, "all statuses are written", writes(pauses))
	behind := time.Since(began) - created
	t.Logf("%d pauses created at %.0f/s, the last status %s later", pauses, pauses/created.Seconds(), behind.Round(time.Millisecond))
	if behind > created/2+time.Second {
		t.Errorf("status fell %s behind in %s", behind, created)
	}

	// Everything changes at once, by one cause.
	known.judge("", knowledge.Verdict{Reason: v1alpha1.ReasonEnforced, Matching: []string{"ms"}})
	before := e.counted(t, "nagi_pause_status_writes_total")
	mass := time.Now()
	for n := range pauses {
		known.tell(fmt.Sprint(n), true)
	}
	known.judge("live", knowledge.Verdict{Reason: v1alpha1.ReasonEnforced, Matching: []string{"live"}})
	live := pauseIn(t, ns, "live", nil)
	waitReason(t, live, v1alpha1.ReasonEnforced)
	overtook := e.counted(t, "nagi_pause_status_writes_total") - before
	if overtook >= pauses {
		t.Errorf("the live change came after all of the mass effect")
	}
	took := time.Since(mass)
	eventually(t, "the mass effect is done", writes(2*pauses+1))
	t.Logf("a live change took %s, with %.0f of a mass effect of %d before it, which took %s", took.Round(time.Millisecond), overtook, pauses, time.Since(mass).Round(time.Millisecond))
}
