// Command nagi runs the whole system on one machine: etcd and kube-apiserver, a
// manager, the shim, two media servers, and synthetic clients in one channel, who come to
// both. It shows what the clients receive, and the commands that pause and resume it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	// Children are ended by the kernel when the thread that started them ends
	// (cmd/nagi/child); the main thread lives as long as the process.
	runtime.LockOSThread()

	if err := run(os.Args[1:]); err != nil {
		if _, usage := errors.AsType[usageError](err); usage {
			fmt.Fprintf(os.Stderr, "nagi: %v (nagi --help lists the flags)\n", err)
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "nagi:", err)
		os.Exit(1)
	}
}

// usageError is that flags are wrong.
type usageError struct{ error }

func run(args []string) error {
	if len(args) > 0 && args[0] == controlPlaneCommand {
		return runControlPlane(args[1:])
	}
	o, err := parseOptions(args)
	if err != nil {
		return usageError{err}
	}
	if o.help {
		return nil
	}

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)

	s, err := newSystem(o, cancel)
	if err != nil {
		return err
	}
	finished := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watchSignals(signals, finished, cancel, s.force)
	}()
	err = s.run(ctx)
	close(finished)
	<-watched

	return err
}

// errInterrupted is the cause of the end that a user asked for.
var errInterrupted = errors.New("interrupted")

// watchSignals ends the system at the first signal and forces its end at the
// second.
func watchSignals(signals <-chan os.Signal, finished <-chan struct{}, cancel context.CancelCauseFunc, force func()) {
	select {
	case <-signals:
	case <-finished:
		return
	}
	fmt.Println("\nEnding everything that was started (once more to force it) ...")
	cancel(errInterrupted)
	select {
	case <-signals:
	case <-finished:
		return
	}
	force()
	<-finished
}
