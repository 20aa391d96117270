package serve

import (
	"cmp"
	"context"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/status"
)

// The streams of a namespace that come are taken in at arrivalRate a second, beyond
// arrivalBurst at once. A thousand that come together, as after a manager's restart, would be as many
// goroutines that want to run, and each step of a change on its way through the
// manager would wait among them for its turn. Those that wait cost nothing: what they
// have sent is not even decoded.
const (
	arrivalRate  = 400
	arrivalBurst = 16
)

// arrivals are by namespace: none waits behind another's.
type arrivals map[string]*rate.Limiter

func newArrivals(namespaces []string) arrivals {
	a := arrivals{}
	for _, namespace := range namespaces {
		a[namespace] = rate.NewLimiter(arrivalRate, arrivalBurst)
	}

	return a
}

// wait returns when it is the turn of a stream of the namespace, which is watched.
func (a arrivals) wait(ctx context.Context, namespace string) error {
	if a[namespace].Wait(ctx) == nil {
		return nil
	}

	// Where the context has not ended, its deadline comes before the turn.
	return status.FromContextError(cmp.Or(ctx.Err(), context.DeadlineExceeded)).Err()
}
