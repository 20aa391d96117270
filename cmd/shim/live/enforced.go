package live

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// Pause is a pause whose enforcement is waited for.
type Pause struct {
	UID string
	// Generation is the object's; an older one is not waited for.
	Generation int64
	// Version is the object's resource version.
	Version   uint64
	ChannelID string
	// Recv and Send are the ids of two connections; where both are set, the pause
	// has to withhold this edge. Else nobody may be there whom it concerns.
	Recv, Send string
}

// ErrWithdrawn is returned for a pause that was deleted: it will never act.
var ErrWithdrawn = errors.New("the pause was deleted while it was waited for")

// RefusedError says that the pause cannot come to act.
type RefusedError struct {
	// Reason is the manager's text.
	Reason string
}

// Error makes it an error.
func (e *RefusedError) Error() string { return "the pause cannot come to act: " + e.Reason }

// WaitEnforced returns nil once one replica says that the pause acts; of a pause
// without an edge, also once the replicas have it and nobody is in the channel. It waits
// until ctx ends, whose error it returns then together with what the replicas last
// failed with; replicas that come back meanwhile are asked again. It ends early with
// ErrWithdrawn or a *RefusedError.
func (r *Replicas) WaitEnforced(ctx context.Context, pause Pause) error {
	replicas, err := r.all()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failures := make(chan error, len(replicas))
	var waiting sync.WaitGroup
	for _, one := range replicas {
		waiting.Go(func() {
			err := r.waitAt(ctx, one, replicas, pause)
			switch status.Code(err) {
			case codes.OK:
				cancel(errEnforced)
			case codes.NotFound:
				cancel(fmt.Errorf("%w: %w", ErrWithdrawn, err))
			case codes.FailedPrecondition:
				cancel(fmt.Errorf("%w: %w", &RefusedError{status.Convert(err).Message()}, err))
			default:
				failures <- fmt.Errorf("manager replica %s: %w", one.address, err)
			}
		})
	}
	waiting.Wait()
	if errors.Is(context.Cause(ctx), errEnforced) {
		return nil
	}

	close(failures)
	err = context.Cause(ctx)
	for failure := range failures {
		err = errors.Join(err, failure)
	}

	return err
}

// errEnforced is the cause with which the first positive answer ends the others.
var errEnforced = errors.New("enforced")

// waitAt asks one replica until it answers, or ctx ends.
func (r *Replicas) waitAt(ctx context.Context, one replica, all []replica, pause Pause) error {
	attempt := r.enforcedAt
	if pause.Recv == "" || pause.Send == "" {
		attempt = func(ctx context.Context, one replica, pause Pause) error { return r.armedAt(ctx, one, all, pause) }
	}
	for last := error(nil); ; {
		err := attempt(ctx, one, pause)
		switch status.Code(err) {
		case codes.OK, codes.NotFound, codes.FailedPrecondition:
			return err
		}
		if last == nil || status.Code(err) != codes.DeadlineExceeded && status.Code(err) != codes.Canceled {
			last = err // else the end of ctx would hide what went wrong before it
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(retryInterval):
		}
	}
}

// enforcedAt waits at one replica.
func (r *Replicas) enforcedAt(ctx context.Context, one replica, pause Pause) error {
	request := &forwardingv1.WaitEnforcedRequest{Namespace: r.namespace, Uid: pause.UID, Generation: pause.Generation}
	if pause.Recv != "" && pause.Send != "" {
		request.Edge = &forwardingv1.EdgeName{RecvConnectionId: pause.Recv, SendConnectionId: pause.Send}
	}
	_, err := one.view.WaitEnforced(ctx, request, grpc.WaitForReady(true))

	return err
}

// armedAt has one replica know the pause before it waits there: a replica that has
// it, and does not say of it what it says of pauses that are enforced or refused,
// knows no media server that hosts the channel. That is enough if no other does, once
// it has the pause too: whoever comes may hear of that one first.
func (r *Replicas) armedAt(ctx context.Context, one replica, all []replica, pause Pause) error {
	has := func(ctx context.Context, one replica) error {
		stream, err := one.view.Explain(ctx, &forwardingv1.ExplainRequest{
			Namespace: r.namespace, ChannelId: pause.ChannelID, Version: pause.Version,
			Of: &forwardingv1.ExplainRequest_Pause{Pause: &forwardingv1.PauseEdges{Uid: pause.UID}},
		}, grpc.WaitForReady(true))

		return collect(stream, err, func(*forwardingv1.ExplainResponse) {})
	}
	if err := has(ctx, one); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := r.enforcedAt(within, one, pause)
	if status.Code(err) != codes.DeadlineExceeded || ctx.Err() != nil {
		return err
	}
	if !r.nobodyIn(ctx, all, pause.ChannelID, has) {
		return status.Error(codes.Unavailable, "a media server that hosts the channel, or may, has not confirmed the pause")
	}

	return nil
}
