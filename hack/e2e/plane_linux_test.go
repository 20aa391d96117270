package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// killAPIServer ends kube-apiserver without a goodbye.
func (p *plane) killAPIServer(t *testing.T) {
	t.Helper()
	server := p.Environment.ControlPlane.APIServer
	kill(t, p.argumentOf(false), net.JoinHostPort(server.Address, server.Port))
}

// killEtcd ends etcd without a goodbye.
func (p *plane) killEtcd(t *testing.T) {
	t.Helper()
	kill(t, p.argumentOf(true), p.Environment.ControlPlane.Etcd.URL.Host)
}

// takeAway ends etcd or the API server, or freezes it.
func (p *plane) takeAway(t *testing.T, etcd, freeze bool) {
	t.Helper()
	switch {
	case freeze:
		pid := processWith(t, p.argumentOf(etcd))
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		awaitStopped(t, pid)
	case etcd:
		p.killEtcd(t)
	default:
		p.killAPIServer(t)
	}
}

// bringBack ends what takeAway did, and returns once the API server is ready.
func (p *plane) bringBack(t *testing.T, etcd, frozen bool) {
	t.Helper()
	switch {
	case frozen:
		if err := syscall.Kill(processWith(t, p.argumentOf(etcd)), syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	case etcd:
		p.startEtcd(t)
	default:
		p.startAPIServer(t)
	}
	p.awaitReadyz(t)
}

// argumentOf is one that no other process has than this etcd, or this API server.
func (p *plane) argumentOf(etcd bool) string {
	if etcd {
		return "--data-dir=" + p.data()
	}

	return "--cert-dir=" + p.certificates()
}

// kill ends the one process with that argument and waits until nobody listens at
// its address.
func kill(t *testing.T, argument, address string) {
	t.Helper()
	if err := syscall.Kill(processWith(t, argument), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of what listens at "+address, func() (string, bool) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return err.Error(), true
		}

		return "it listens", conn.Close() != nil
	})
}

// saveData copies etcd's data away while everything runs. Etcd is frozen for it,
// so that the copy is what a crash at that moment would leave.
func (p *plane) saveData(t *testing.T) (copied string) {
	t.Helper()
	copied = filepath.Join(t.TempDir(), "etcd")
	pid := processWith(t, p.argumentOf(true))
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}()
	awaitStopped(t, pid)
	if err := os.CopyFS(copied, os.DirFS(p.data())); err != nil {
		t.Fatal(err)
	}

	return copied
}

// processWith is the one process with that argument.
func processWith(t *testing.T, argument string) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, []byte("\x00"+argument+"\x00")) {
			continue // Gone meanwhile, or another.
		}
		var pid int
		if _, err := fmt.Sscanf(path, "/proc/%d/cmdline", &pid); err != nil {
			t.Fatal(err)
		}

		return pid
	}
	t.Fatalf("no process has the argument %s", argument)

	return 0
}

// awaitStopped waits until the kernel has stopped the process.
func awaitStopped(t *testing.T, pid int) {
	t.Helper()
	await(t, "the process to stop", func() (string, bool) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		// The state comes after the name, which is in parentheses.
		at := bytes.LastIndexByte(stat, ')')

		return string(stat), strings.HasPrefix(string(stat[at+1:]), " T")
	})
}
