package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// patience is how long slower replicas are waited for once one has answered, and
	// longPatience where their silence would be taken for consent.
	patience     = 250 * time.Millisecond
	longPatience = time.Second
	// answerTimeout bounds the wait while no replica has answered at all.
	answerTimeout = 2 * time.Second
	// retryInterval is the pause before a replica that failed is asked again.
	retryInterval = 50 * time.Millisecond
)

// word is what one replica said.
type word[T any] struct {
	replica replica
	answer  T
	err     error
}

// ask asks every replica once, at the same time, and hands each word to enough
// until that says so. It ends before, without an error, when all have spoken or
// patience has passed since the first answer; and with an error when there is no
// answer.
func ask[T any](
	ctx context.Context, patience time.Duration, replicas []replica, question func(context.Context, replica) (T, error),
	enough func(word[T]) bool,
) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	words := make(chan word[T], len(replicas))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for _, replica := range replicas {
		asking.Go(func() {
			answer, err := question(ctx, replica)
			words <- word[T]{replica, answer, err}
		})
	}

	var over <-chan time.Time
	var failures []error
	for range replicas {
		select {
		case w := <-words:
			if w.err != nil {
				failures = append(failures, fmt.Errorf("manager replica %s: %w", w.replica.address, w.err))

				continue
			}
			if enough(w) {
				return nil
			}
			if over == nil {
				timer := time.NewTimer(patience)
				defer timer.Stop()
				over = timer.C
			}
		case <-over:
			return nil
		case <-ctx.Done():
			if over != nil {
				return nil
			}

			return unanswered(append(failures, ctx.Err()))
		}
	}
	if len(failures) == len(replicas) {
		return unanswered(failures)
	}

	return nil
}

// onceInReach asks again while no replica is in reach, for answerTimeout: one that has
// just been started may not have been dialled again yet.
func onceInReach(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for {
		err := ask(ctx)
		if !errors.Is(err, ErrNoReplica) || status.Code(err) != codes.Unavailable {
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return err
		}
	}
}

// unanswered says why nobody answered.
func unanswered(failures []error) error {
	kind := ErrNotServed
	switch {
	case slices.ContainsFunc(failures, func(failure error) bool { return errors.Is(failure, ErrNotCurrent) }):
		kind = ErrNotCurrent
	case len(failures) == 0 ||
		slices.ContainsFunc(failures, func(failure error) bool { return status.Code(failure) != codes.InvalidArgument }):
		kind = ErrNoReplica
	}

	return fmt.Errorf("%w: %w", kind, errors.Join(failures...))
}

// collect reads all parts of an answer.
func collect[T any](stream grpc.ServerStreamingClient[T], err error, part func(*T)) error {
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		part(response)
	}
}

// finding is what one replica answered to a question whose answer may be that there
// is nothing.
type finding[T any] struct {
	answer T
	// positive: something is there, and that is true whoever says it.
	positive bool
	// knows: nothing is there, and the replica knows others in the channel.
	knows bool
}

// settle asks every replica, again and again, until one answer can be believed: one
// that is positive, else that of a replica that knows the channel, else any if no
// replica knows anybody in the channel or misses a media server. It gives up when
// ctx ends, or after 2 s if no replica is in reach.
func settle[T any](
	ctx context.Context, r *Replicas, channelID string, question func(context.Context, replica) (finding[T], error),
) (T, error) {
	var answer T
	replicas, err := r.all()
	if err != nil {
		return answer, err
	}
	ctx, cancel := context.WithCancel(ctx)
	words := make(chan word[finding[T]])
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for _, replica := range replicas {
		asking.Go(func() { pursue(ctx, r, replica, channelID, question, words) })
	}

	unreached := time.After(answerTimeout)
	var over <-chan time.Time
	answered, waitNoLonger := false, false
	failures := map[string]error{} // the latest of each replica that has spoken; nil: none
	for {
		select {
		case w := <-words:
			failures[w.replica.address] = w.err
			switch {
			case w.err == nil && (w.answer.positive || w.answer.knows):
				return w.answer.answer, nil
			case w.err == nil && !answered:
				answered, answer, over = true, w.answer.answer, time.After(patience)
			}
			if answered && (waitNoLonger || len(failures) == len(replicas)) && r.nobodyIn(ctx, replicas, channelID, nil) {
				return answer, nil
			}
		case <-over: // The next word brings the decision.
			waitNoLonger = true
		case <-unreached:
			if !r.inReach() {
				return answer, unanswered(named(failures))
			}
		case <-ctx.Done():
			return answer, fmt.Errorf("%w: %w", ErrNotCurrent, errors.Join(append(named(failures), ctx.Err())...))
		}
	}
}

// pursue asks one replica until ctx ends.
func pursue[T any](
	ctx context.Context, r *Replicas, one replica, channelID string,
	question func(context.Context, replica) (finding[T], error), words chan<- word[finding[T]],
) {
	for {
		answer, err := question(ctx, one)
		if err == nil && !answer.positive {
			presence, presenceError := r.presence(ctx, one, channelID)
			answer.knows = presenceError == nil && presence.occupied
		}
		select {
		case words <- word[finding[T]]{one, answer, err}:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return
		}
	}
}

// named puts the replicas' addresses before what they failed with.
func named(failures map[string]error) []error {
	var list []error
	for _, address := range slices.Sorted(maps.Keys(failures)) {
		if failures[address] != nil {
			list = append(list, fmt.Errorf("manager replica %s: %w", address, failures[address]))
		}
	}

	return list
}
