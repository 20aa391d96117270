package live

import (
	"context"
	"fmt"
)

// Serving returns nil if a replica that hears from the API server answers for the
// namespace, ErrNotServed if those that answer serve others only, ErrNoReplica if
// none answers, ErrNotCurrent if those that serve it are all behind the API server:
// they know who is connected, and confirm no pause.
func (r *Replicas) Serving(ctx context.Context) error {
	replicas, err := r.all()
	if err != nil {
		return err
	}
	current := false
	// Any channel will do.
	err = ask(ctx, patience, replicas,
		func(ctx context.Context, one replica) (*Channel, error) { return r.presence(ctx, one, nobodysID) },
		func(w word[*Channel]) bool {
			current = current || !w.answer.stale

			return current
		})
	if err == nil && !current {
		return fmt.Errorf("%w: the managers that serve it do not hear from the API server, so that pauses are stored "+
			"and not confirmed, and none is listed; /readyz of the managers tells why", ErrNotCurrent)
	}

	return err
}
