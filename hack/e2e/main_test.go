// Package e2e tests the system from end to end: the real programs as processes,
// a real API server, and clients that publish real media over loopback. What
// reaches a receiver is proven by RTP sequence numbers.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	ctrl "sigs.k8s.io/controller-runtime"
)

// running is the system that all tests share, each in channels of its own. Set
// by TestMain before any test, and not changed after.
var running *system

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	// envtest would else complain of having nowhere to log to.
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "nagi-e2e-")
	if err != nil {
		return failed(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := buildPrograms(dir); err != nil {
		return failed(err)
	}
	if running, err = startSystem(dir); err != nil {
		return failed(err)
	}
	code := m.Run()
	if err := running.stop(); err != nil {
		code = failed(err)
	}
	if err := goleak.Find(); err != nil {
		code = failed(err)
	}
	return code
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "e2e:", err)
	return 1
}

// buildPrograms builds what `make build` builds, with the race detector if the
// tests have it.
func buildPrograms(dir string) error {
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.CommandContext(context.Background(), "go", append(args, "../../cmd/...")...)
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, output)
	}
	return nil
}
