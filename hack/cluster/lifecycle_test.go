//go:build linux && cluster

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deadline bounds every wait.
const deadline = 3 * time.Minute

// start starts a cluster that says when it is up, below dir, and waits until then. bin/cluster has been filled.
func start(t *testing.T, dir string) (running *exec.Cmd, stderr *strings.Builder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
	t.Cleanup(cancel)
	root := "../.."
	assets, err := exec.CommandContext(ctx, filepath.Join(root, "hack/controlplane/assets.sh"), "cluster").Output()
	if err != nil {
		t.Fatal(err)
	}
	stderr = &strings.Builder{}
	running = exec.CommandContext(ctx, filepath.Join(root, "bin/cluster/cluster"), "--dir="+dir, "--nodes=2",
		"--assets="+strings.TrimSpace(string(assets)), "--images="+filepath.Join(root, "bin/cluster/images"),
		"sh", "-c", "kubectl get nodes --output=name && exec sleep 1000")
	running.Stderr = stderr
	stdout, err := running.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	for index := 1; index <= 2; index++ {
		line, err := lines.ReadString('\n')
		if want := fmt.Sprintf("node/%s\n", nodeName(index)); line != want {
			rest, _ := io.ReadAll(lines)
			t.Fatalf("it says %q (%v), want %q\n%s%s", line, err, want, rest, stderr)
		}
	}

	return running, stderr
}

// left are the traces of a cluster on the machine.
func left(t *testing.T, dir string) []string {
	t.Helper()
	traces := groups()
	if _, err := os.Stat(dir); err == nil {
		traces = append(traces, dir)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		traces = append(traces, "a mount")
	}
	links, err := exec.CommandContext(t.Context(), "ip", "-brief", "link").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(links), "lan") || strings.Contains(string(links), nodeName(1)) {
		traces = append(traces, "an interface")
	}

	return traces
}

// processes are those in the cluster's group.
func processes() (all []string) {
	for _, path := range groups() {
		content, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		all = append(all, strings.Fields(string(content))...)
	}

	return all
}

// TestNothingIsLeft: a cluster that is interrupted removes itself, and one that is killed ends with all its processes,
// and is removed by the next, which works.
func TestNothingIsLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	killed, _ := start(t, dir)
	if len(processes()) < 10 {
		t.Fatalf("only %d processes are in the group", len(processes()))
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	for end := time.Now().Add(deadline); len(processes()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("these go on though the first of them was killed: %v", processes())
		}
	}
	if len(left(t, dir)) == 0 {
		t.Fatal("a killed cluster is expected to leave something")
	}

	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		interrupted, said := start(t, dir)
		if err := interrupted.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := interrupted.Wait(); err == nil {
			t.Errorf("%v: it ended without an error", signal)
		}
		if traces := left(t, dir); len(traces) > 0 {
			t.Errorf("%v: it left %v\n%s", signal, traces, said)
		}
	}
}

// TestLacking: a machine on which no cluster can be made says what it lacks, in one line.
func TestLacking(t *testing.T) {
	other := t.TempDir() // The programs of a system that is not Debian.
	for _, name := range []string{"bash", "env", "id"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(other, name)); err != nil {
			t.Fatal(err)
		}
	}
	for where, want := range map[string]string{
		"exec":                     "",
		"exec unshare --user":      "it needs root",
		"PATH=" + other + "; exec": "it needs Debian",
		"mount -t tmpfs none /sys/fs/cgroup; exec": "it needs control groups: none are mounted",
		"for root in $(findmnt -rno TARGET -t cgroup,cgroup2); do mount --bind -o ro $root $root; done; " +
			"exec": "it needs control groups: mkdir",
	} {
		command := exec.CommandContext(t.Context(), "unshare", "--mount", "bash", "-euc", where+" ./lacking.sh")
		output, err := command.CombinedOutput()
		said := string(output)
		if err != nil || !strings.HasPrefix(said, want) || (want == "") != (said == "") || strings.Count(said, "\n") > 1 {
			t.Errorf("%s: %v, %q, want %q", where, err, said, want)
		}
	}
}
