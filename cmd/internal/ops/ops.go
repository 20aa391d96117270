// Package ops holds what every program does alike so that it can be operated:
// logs, listeners, metrics and probes, and a graceful end.
package ops

import (
	"context"
	"io"
	"log/slog"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// NewLogger returns the logger of a program, which writes one line of text per
// event to w (os.Stderr outside tests).
func NewLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, nil))
}

// Run runs the functions side by side until one returns an error, ctx ends or
// the process gets SIGINT or SIGTERM; then it cancels the context that all of
// them were given and waits for them. The result is the first error; nil when
// the end was asked for. A function that returns nil leaves the others running.
func Run(ctx context.Context, functions ...func(context.Context) error) error {
	signalled, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Whoever asks twice will not wait for a graceful end: from the first signal
	// on, before anybody acts on it, the next one has its default effect again.
	defer context.AfterFunc(signalled, func() {
		stop()
		cancel(context.Cause(signalled))
	})()

	group, groupContext := errgroup.WithContext(ctx)
	for _, function := range functions {
		group.Go(func() error { return function(groupContext) })
	}

	return group.Wait()
}
