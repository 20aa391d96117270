package serve

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
)

func TestStreamsThatComeTogetherAreTakenInOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams = 1000
		arrivals := newArrivals([]string{"meetings", "other"})
		var in atomic.Int64
		for range streams {
			go func() {
				if err := arrivals.wait(t.Context(), "meetings"); err != nil {
					t.Error(err)
				}
				in.Add(1)
			}()
		}
		synctest.Wait()
		if got := in.Load(); got != arrivalBurst {
			t.Errorf("%d are in at once, want %d", got, arrivalBurst)
		}
		// Another namespace's does not wait behind them.
		began := time.Now()
		if err := arrivals.wait(t.Context(), "other"); err != nil || !time.Now().Equal(began) {
			t.Errorf("another namespace's waited %s: %v", time.Since(began), err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := in.Load(); got < arrivalRate || got > arrivalRate+arrivalBurst {
			t.Errorf("%d are in after a second, want %d", got, arrivalRate+arrivalBurst)
		}
		// A restarted manager is to serve all of them within 5 s.
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := in.Load(); got != streams {
			t.Errorf("%d are in after 3 s, want all %d", got, streams)
		}
	})
}

func TestAStreamIsTakenInInItsTurn(t *testing.T) {
	namespace := newNamespace(t)
	s := serve(t, namespace)
	s.arrivals[namespace] = rate.NewLimiter(0, 0) // It never comes.
	c := s.open(t, helloOf(namespace, "ms"))
	expectCode(t, c.end(), codes.DeadlineExceeded, "")
}
