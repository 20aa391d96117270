// Package e2e tests the system from end to end: the real programs as processes,
// a real API server, and clients that publish real media over loopback. What
// reaches a receiver is proven by RTP sequence numbers.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	ctrl "sigs.k8s.io/controller-runtime"
)

// running is the system that all tests share that harm none of its parts, each in
// channels of its own. programs is the directory of the programs. Set by TestMain
// before any test, and not changed after.
var (
	running  *system
	programs string
)

// built is a directory of programs to test, instead of new ones.
var built = flag.String("programs", "", "directory of programs to test; empty: they are built")

// rounds is how often each fault is repeated where a fault is a matter of chance:
// few by default, so that the whole is bearable. What is promised of 25 is shown by
//
//	KUBEBUILDER_ASSETS="$(hack/controlplane/assets.sh)" go test ./hack/e2e -v -timeout 60m \
//	  -run 'TestTwoManagers|TestLeaseLostAndWon|TestClusterAway|TestEdits' -rounds 25
var rounds = flag.Int("rounds", fewRounds, "how often each fault is repeated")

const fewRounds = 2

// allFaults has TestFaults run all faults, and nothing beside it.
var allFaults = flag.Bool("faults", false, "run all faults of TestFaults, and no shared system")

func TestMain(m *testing.M) {
	if os.Getenv(withoutNetworkVariable) != "" {
		os.Exit(failed(becomeWithoutNetwork()))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	flag.Parse()
	// envtest would else complain of having nowhere to log to.
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "nagi-e2e-")
	if err != nil {
		return failed(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if programs = *built; programs == "" {
		programs = filepath.Join(dir, "bin")
		if err := buildPrograms(programs); err != nil {
			return failed(err)
		}
	}
	if *allFaults {
		return m.Run()
	}
	if running, err = startSystem(dir, layout{managers: 2, shims: 2, mediaServers: 2}); err != nil {
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
