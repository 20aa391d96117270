//go:build linux

// Package plane runs etcd and kube-apiserver for a benchmark, with etcd's commits
// waiting for the disk.
package plane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

// Command makes a benchmark run etcd and kube-apiserver alone, by Run. They get a
// process between the benchmark and them, which the kernel tells when the
// benchmark is killed: they themselves would be left behind.
const Command = "control-plane"

// Run runs them until the context ends, and announces "kubernetes" with address,
// kubeconfig and etcd's address. etcd's data lie in the directory,
// and each of its commits waits for the disk.
func Run(ctx context.Context, directory string) error {
	parent := os.Getppid()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	plane, err := controlplane.Start(func(e *envtest.Environment) {
		e.AttachControlPlaneOutput = true
		e.ControlPlane.Etcd.DataDir = filepath.Join(directory, "etcd")
		// The test environment's default trades durability for speed.
		e.ControlPlane.Etcd.Configure().Disable("unsafe-no-fsync")
		// Else it looks for a default route, which a network namespace lacks; it
		// refuses loopback. Nobody connects to this one (RFC 5737).
		e.ControlPlane.GetAPIServer().Configure().Set("advertise-address", "192.0.2.1")
	})
	if err != nil {
		return err
	}
	etcd := plane.Environment.ControlPlane.Etcd
	//nolint:staticcheck // Args is deprecated for configuring; what etcd was started with is told by nothing else.
	if arguments := etcd.Args; slices.ContainsFunc(arguments, func(a string) bool {
		return strings.Contains(a, "unsafe-no-fsync")
	}) {
		err = fmt.Errorf("etcd runs without fsync, with %q: its latencies would be too good", arguments)
	} else {
		log.Info("listening", "what", "kubernetes", "address", plane.Config.Host, "kubeconfig", plane.Kubeconfig,
			"etcd", etcd.URL.String())
		<-ctx.Done()
	}
	if stopErr := plane.Stop(); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("stop etcd and kube-apiserver: %w", stopErr))
	}
	if os.Getppid() != parent {
		err = errors.Join(err, os.RemoveAll(directory)) // Nobody else is left to do it.
	}

	return err
}

// Directory makes a directory that is not kept in memory, where an fsync
// would cost nothing.
func Directory(root string) (string, error) {
	parent := filepath.Join(root, "bin", "bench")
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // Beside the programs.
		return "", fmt.Errorf("make a directory for etcd: %w", err)
	}
	var system unix.Statfs_t
	if err := unix.Statfs(parent, &system); err != nil {
		return "", fmt.Errorf("find out what %s is kept on: %w", parent, err)
	}
	if system.Type == unix.TMPFS_MAGIC || system.Type == unix.RAMFS_MAGIC {
		return "",
			fmt.Errorf("%s is kept in memory, so that etcd's fsync would cost nothing: put the repository on a disk", parent)
	}
	parent, err := filepath.Abs(parent)
	if err != nil {
		return "", fmt.Errorf("make a directory for etcd: %w", err)
	}
	directory, err := os.MkdirTemp(parent, "plane-")
	if err != nil {
		return "", fmt.Errorf("make a directory for etcd: %w", err)
	}

	return directory, nil
}
