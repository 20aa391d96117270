//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// insideNamespace is the first argument of a program that has entered one.
	insideNamespace = "in-namespace"
	// janusInterface has the address on which Janus, which takes no loopback
	// interface, meets its clients. Packets to an own address go through lo all
	// the same.
	janusInterface = "bench0"
	janusAddress   = "198.51.100.1/32" // TEST-NET-2 (RFC 5737); it exists in the namespace only.
)

// enterNamespace starts the program anew, as the same process, in a network
// namespace of its own, with its present arguments behind insideNamespace. The
// namespace has no way out, and ends with the last process in it. It returns
// only when that cannot be done, with the reason.
func enterNamespace(arguments []string) error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("no ip command; Debian: apt-get install iproute2")
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the own program: %w", err)
	}
	runtime.LockOSThread() // Unshare acts on the thread, which exec makes the process.
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()

		return fmt.Errorf("unshare: %w", err)
	}
	anew := append([]string{self, insideNamespace}, arguments...)
	err = syscall.Exec(self, anew, os.Environ()) //nolint:gosec // The own program.
	// This thread is in no state to go on with.
	panic(fmt.Sprintf("start anew in a network namespace: %v", err))
}

// furnishNamespace gives the present namespace its loopback interface and, for
// Janus, one that is not. The second error is about Janus only.
func furnishNamespace(ctx context.Context) (err, janus error) {
	if err := ip(ctx, "link set lo up"); err != nil {
		return fmt.Errorf("bring up loopback in the benchmark's network namespace: %w", err), nil
	}
	// Both ends of the pair stay here, so that the interface has a carrier.
	if err := ip(ctx, "link add "+janusInterface+" type veth peer name bench1"); err != nil {
		if dummy := ip(ctx, "link add "+janusInterface+" type dummy"); dummy != nil {
			return nil, fmt.Errorf("the kernel has neither veth nor dummy interfaces: %w", errors.Join(err, dummy))
		}
	} else if err := ip(ctx, "link set bench1 up"); err != nil {
		return nil, err
	}

	return nil,
		errors.Join(ip(ctx, "address add "+janusAddress+" dev "+janusInterface), ip(ctx, "link set "+janusInterface+" up"))
}

func ip(ctx context.Context, arguments string) error {
	//nolint:gosec // The arguments are constants.
	out, err := exec.CommandContext(ctx, "ip", strings.Fields(arguments)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", arguments, err, out)
	}

	return nil
}
