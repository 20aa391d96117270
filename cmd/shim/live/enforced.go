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
	ChannelID  string
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

// WaitEnforced returns nil once one replica says that the pause acts. It waits until
// ctx ends, whose error it returns then together with what the replicas last failed
// with; replicas that come back meanwhile are asked again. It ends early with
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

// waitAt asks one replica until its answer can be believed, or ctx ends.
func (r *Replicas) waitAt(ctx context.Context, one replica, all []replica, pause Pause) error {
	request := &forwardingv1.WaitEnforcedRequest{Namespace: r.namespace, Uid: pause.UID, Generation: pause.Generation}
	if pause.Recv != "" && pause.Send != "" {
		request.Edge = &forwardingv1.EdgeName{RecvConnectionId: pause.Recv, SendConnectionId: pause.Send}
	}
	for {
		response, err := one.view.WaitEnforced(ctx, request, grpc.WaitForReady(true))
		switch status.Code(err) {
		case codes.OK:
			if request.GetEdge() != nil || len(response.GetMediaServers()) > 0 || r.noHost(ctx, one, all, pause.ChannelID) {
				return nil
			}
			err = status.Error(codes.Unavailable, "it knows no media server that hosts the channel, and another replica may")
		case codes.NotFound, codes.FailedPrecondition:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryInterval):
		}
	}
}

// noHost tells whether a replica that names no media server may be believed: it
// knows the channel, so that a media server has spoken, or nobody knows it.
func (r *Replicas) noHost(ctx context.Context, one replica, all []replica, channelID string) bool {
	if presence, err := r.presence(ctx, one, channelID); err == nil && presence.occupied {
		return true
	}
	return r.nobodyIn(ctx, all, channelID)
}
