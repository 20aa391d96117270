package controlplane_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// insideVariable tells the test binary that it runs in a network namespace of its
// own, and is to start a control plane there.
const insideVariable = "NAGI_TEST_WITHOUT_NETWORK"

// kube-apiserver looks for the default route and ends where there is none.
func TestStartsWithoutNetwork(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inside := exec.CommandContext(t.Context(), executable)
	inside.Env = append(os.Environ(), insideVariable+"=1")
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		inside.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		inside.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		inside.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := inside.CombinedOutput()
	if errors.Is(err, os.ErrPermission) {
		t.Logf("not tried: this system gives no network namespace to its users: %v", err)

		return
	}
	if err != nil {
		t.Errorf("in a network namespace with nothing but loopback: %v\n%s", err, out)
	}
}

// startInside starts a control plane in a namespace whose loopback is still down.
func startInside() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("a socket to raise loopback with: %w", err)
	}
	defer unix.Close(socket)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback); err != nil {
		return fmt.Errorf("raising loopback: %w", err)
	}

	return startAndAsk()
}
