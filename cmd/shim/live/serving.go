package live

import (
	"context"
)

// Serving returns nil if a replica answers for the namespace, ErrNotServed if those
// that answer serve others only, ErrNoReplica if none answers.
func (r *Replicas) Serving(ctx context.Context) error {
	replicas, err := r.all()
	if err != nil {
		return err
	}
	// Any channel will do.
	return ask(ctx, patience, replicas,
		func(ctx context.Context, one replica) (*Channel, error) { return r.presence(ctx, one, nobodysID) },
		func(word[*Channel]) bool { return true })
}
