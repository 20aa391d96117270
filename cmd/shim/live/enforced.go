package live

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// retryInterval is the pause before a replica that failed is asked again.
const retryInterval = 100 * time.Millisecond

// WaitEnforced returns nil once one replica says that the pause with the uid
// acts on every matching edge. It waits until ctx ends, whose error it returns
// then together with what the replicas last failed with; replicas that come back
// meanwhile are asked again. It ends early with ErrWithdrawn.
func (r *Replicas) WaitEnforced(ctx context.Context, namespace, uid string) error {
	views := r.views()
	if len(views) == 0 {
		return fmt.Errorf("%w: none of %s has an address", ErrNoReplica, strings.Join(r.managers, ", "))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	request := &forwardingv1.WaitEnforcedRequest{Namespace: namespace, Uid: uid}
	failures := make(chan error, len(views))
	var waiting sync.WaitGroup
	for replica, view := range views {
		waiting.Go(func() {
			err := waitReplica(ctx, view, request)
			switch status.Code(err) {
			case codes.OK:
				cancel(errEnforced)
			case codes.NotFound, codes.FailedPrecondition:
				cancel(fmt.Errorf("%w: %w", ErrWithdrawn, err))
			default:
				failures <- fmt.Errorf("manager replica %s: %w", replica, err)
			}
		})
	}
	waiting.Wait()
	if errors.Is(context.Cause(ctx), errEnforced) {
		return nil
	}

	close(failures)
	err := context.Cause(ctx)
	for failure := range failures {
		err = errors.Join(err, failure)
	}
	return err
}

// ErrWithdrawn is returned for a pause that was deleted or has expired: it will
// never act.
var ErrWithdrawn = errors.New("the pause was withdrawn while it was waited for")

// errEnforced is the cause with which the first positive answer ends the others.
var errEnforced = errors.New("enforced")

func waitReplica(ctx context.Context, view forwardingv1.ViewClient, request *forwardingv1.WaitEnforcedRequest) error {
	for {
		_, err := view.WaitEnforced(ctx, request, grpc.WaitForReady(true))
		switch status.Code(err) {
		case codes.OK, codes.NotFound, codes.FailedPrecondition:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryInterval):
		}
	}
}
