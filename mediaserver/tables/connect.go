package tables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// firstRetry and lastRetry bound the wait before a stream is opened again.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 1500 * time.Millisecond
	// settledAfter is how long a stream must have lived for the next retry to be
	// a first one.
	settledAfter = 5 * time.Second
)

// Run dials the managers and keeps one stream to each of their addresses until
// ctx ends. It returns when all its goroutines have; the error is nil unless the
// configuration is wrong.
func (s *Subscriber) Run(ctx context.Context) error {
	set, err := managers.New(s.config.Managers, s.config.LookupHost, s.config.Log)
	if err != nil {
		return err
	}
	var streams, watch sync.WaitGroup
	watch.Go(func() { s.watchVersions(ctx) })
	running := make(map[string]context.CancelFunc)
	set.Run(ctx, func(addresses []string) { s.follow(ctx, set, &streams, running, addresses) })
	for _, stop := range running {
		stop()
	}
	streams.Wait()
	watch.Wait()
	s.settlers.Wait()

	return nil
}

// follow starts a stream for each address that has none and stops those whose
// address is gone.
func (s *Subscriber) follow(
	ctx context.Context, set *managers.Set, streams *sync.WaitGroup, running map[string]context.CancelFunc,
	addresses []string,
) {
	wanted := make(map[string]struct{}, len(addresses))
	for _, address := range addresses {
		wanted[address] = struct{}{}
		if running[address] == nil {
			streamContext, stop := context.WithCancel(ctx)
			running[address] = stop
			streams.Go(func() { s.keepConnected(streamContext, set, address) })
		}
	}
	for address, stop := range running {
		if _, ok := wanted[address]; !ok {
			stop()
			delete(running, address)
		}
	}
}

// keepConnected keeps one stream to the address until ctx ends.
func (s *Subscriber) keepConnected(ctx context.Context, set *managers.Set, address string) {
	defer s.noteFailure(address, nil)
	wait, failing := firstRetry, false
	for {
		started := time.Now()
		err := s.subscribe(ctx, set, address)
		if ctx.Err() != nil || s.isDraining() {
			return
		}
		s.metrics.disconnects.Inc()
		s.noteFailure(address, err)
		if time.Since(started) >= settledAfter {
			wait, failing = firstRetry, false
		}
		if status.Code(err) == codes.Aborted {
			// Another media server runs under this name: two that fight for it
			// should do so slowly.
			wait = lastRetry
		}
		if !failing {
			s.config.Log.Warn("no stream to a manager; trying on, the last tables stay", "manager", address, "error", err)
		}
		failing = true
		select {
		case <-ctx.Done():
			return
		case <-time.After(jitter(wait)):
		}
		wait = min(2*wait, lastRetry)
	}
}

// noteFailure keeps why there is no stream to the address, for the readiness
// probe; nil: it is no longer dialled.
func (s *Subscriber) noteFailure(address string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.failures, address)
	} else {
		s.failures[address] = err
	}
}

// jitter keeps media servers that lost the same manager from returning at once.
func jitter(wait time.Duration) time.Duration {
	return wait/2 + rand.N(wait/2)
}

// subscribe opens a stream and serves it to its end.
func (s *Subscriber) subscribe(ctx context.Context, set *managers.Set, address string) error {
	// A client for each attempt: its own backoff would come on top of ours.
	client, err := set.Dial(address, s.config.DialOptions...)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Read before the call reads it: where it is renewed in between, it is said twice.
	token, err := s.config.token()
	if err != nil {
		return err
	}
	call, err := forwardingv1.NewForwardingClient(client).Subscribe(ctx)
	if err != nil {
		return fmt.Errorf("subscribe to the manager %s: %w", address, err)
	}
	stream := newStream(s, address, call)
	stream.token = token
	stream.placement = forwardingv1.NewPlacementClient(client)
	s.join(stream)
	defer close(stream.ended)
	defer s.leave(stream)
	defer s.config.Peers.Left(address)

	var parts sync.WaitGroup
	parts.Go(func() {
		// io.EOF says only that the stream has ended; reading tells why.
		if err := stream.write(ctx); err != nil && !errors.Is(err, io.EOF) {
			cancel(err)
		}
	})
	err = stream.read(ctx, cancel)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	parts.Wait()
	stream.questions.Wait()

	return fmt.Errorf("stream to the manager %s ended: %w", address, err)
}
