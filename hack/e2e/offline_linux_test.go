package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// withoutNetworkVariable has this test program take the way into a network
// namespace of its own, with nothing but loopback, and become what its arguments
// say there.
const withoutNetworkVariable = "NAGI_E2E_WITHOUT_NETWORK"

// TestOneMachineWithoutNetwork proves that the whole system starts on a
// machine that has no network but loopback.
func TestOneMachineWithoutNetwork(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	namespaces := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if os.Getuid() == 0 {
		// Root needs no user namespace, which some systems do not have.
		namespaces = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	probe := exec.CommandContext(t.Context(), "true")
	probe.SysProcAttr = namespaces
	if err := probe.Run(); errors.Is(err, os.ErrPermission) {
		t.Logf("not tried: this system gives its users no network namespace: %v", err)

		return
	}
	t.Setenv(withoutNetworkVariable, "1")
	n := startNagiIn(t, namespaces, []string{self})
	n.awaitOutput(t, flowing, 0)
	n.signal(t, os.Interrupt)
	if code := n.awaitEnd(t); code != 0 {
		t.Errorf("after Ctrl-C the exit code is %d", code)
	}
	n.awaitNothingLeft(t)
}

// becomeWithoutNetwork raises loopback and becomes the program that the arguments
// name. It returns only when that fails.
func becomeWithoutNetwork() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket to raise loopback with: %w", err)
	}
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name loopback: %w", err)
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	if err := os.Unsetenv(withoutNetworkVariable); err != nil {
		return fmt.Errorf("forget the way: %w", err)
	}

	return unix.Exec(os.Args[1], os.Args[1:], os.Environ())
}
