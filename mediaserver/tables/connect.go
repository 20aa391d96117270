package tables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

const (
	// firstRetry and lastRetry bound the wait before a stream is opened again.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 1500 * time.Millisecond
	// settledAfter is how long a stream must have lived for the next retry to be
	// a first one.
	settledAfter = 5 * time.Second
	// connectTimeout bounds the attempt to reach an address that does not answer.
	connectTimeout = 3 * time.Second
	// maxTableBytes is the largest message accepted: some 100,000 pauses in one
	// channel.
	maxTableBytes = 32 << 20
)

// keepConnected keeps one stream to the address until ctx ends.
func (s *Subscriber) keepConnected(ctx context.Context, address string) {
	wait, failing := firstRetry, false
	for {
		started := time.Now()
		err := s.subscribe(ctx, address)
		if ctx.Err() != nil || s.isDraining() {
			return
		}
		s.metrics.disconnects.Inc()
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

// jitter keeps media servers that lost the same manager from returning at once.
func jitter(wait time.Duration) time.Duration {
	return wait/2 + rand.N(wait/2)
}

// subscribe opens a stream and serves it to its end.
func (s *Subscriber) subscribe(ctx context.Context, address string) error {
	// A client for each attempt: its own backoff would come on top of ours.
	client, err := grpc.NewClient("passthrough:///"+address, append(dialOptions(), s.config.DialOptions...)...)
	if err != nil {
		return fmt.Errorf("prepare to dial the manager %s: %w", address, err)
	}
	defer func() { _ = client.Close() }()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	call, err := forwardingv1.NewForwardingClient(client).Subscribe(ctx)
	if err != nil {
		return fmt.Errorf("subscribe to the manager %s: %w", address, err)
	}
	stream := newStream(s, address, call)
	s.join(stream)
	defer close(stream.ended)
	defer s.leave(stream)
	s.config.Log.Info("stream to a manager", "manager", address)

	written := make(chan struct{})
	go func() {
		defer close(written)
		// io.EOF says only that the stream has ended; reading tells why.
		if err := stream.write(ctx); err != nil && !errors.Is(err, io.EOF) {
			cancel(err)
		}
	}()
	err = stream.read(ctx, cancel)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	<-written
	return fmt.Errorf("stream to the manager %s ended: %w", address, err)
}

func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		// Replicas speak every 5 s, so a ping is sent only when a connection is dead.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxTableBytes)),
	}
}
