//go:build linux && cluster

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inVersion2 says that the test runs where the control groups are those of version 2.
const inVersion2 = "NAGI_IN_VERSION_2"

// TestGroupsOfVersion2: what is done with control groups does the same where they are one hierarchy, of version 2. Each
// machine has that, though its controllers may be with version 1: then it is the hierarchy that is tested, no kubelet.
func TestGroupsOfVersion2(t *testing.T) {
	if os.Getenv(inVersion2) == "" {
		command := exec.CommandContext(t.Context(), "unshare", "--mount", "bash", "-euc",
			`mount -t cgroup2 none /sys/fs/cgroup; exec "$0" -test.v -test.run='^TestGroupsOfVersion2$'`, os.Args[0])
		command.Env = append(os.Environ(), inVersion2+"=yes")
		output, err := command.CombinedOutput()
		if err != nil || !strings.Contains(string(output), "--- PASS: TestGroupsOfVersion2") {
			t.Errorf("%v\n%s", err, output)
		}

		return
	}
	unlock, err := lock("/run/" + group + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if roots, err := hierarchies(); err != nil || !slices.Equal(roots, []string{groupRoot}) {
		t.Fatalf("the hierarchies are %q: %v", roots, err)
	}
	inside, outside := start1000(t), start1000(t)
	for name, pid := range map[string]int{"programs": inside.Process.Pid, "node-1": 0} {
		if err := makeGroup(name, pid); err != nil {
			t.Fatal(err)
		}
	}
	is(t, inside, "/"+group+"/programs")
	if err := makeGroup("programs", outside.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := leaveGroup(outside.Process.Pid); err != nil {
		t.Fatal(err)
	}
	is(t, outside, "/")
	if found, want := len(groups()), 3; found != want {
		t.Errorf("there are %d groups, want %d: %q", found, want, groups())
	}

	if err := clearLeftovers(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Fatal(err)
	}
	if err := inside.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("a process in the group: %v, want it to be killed", err)
	}
	if found := groups(); len(found) > 0 {
		t.Errorf("%q are left", found)
	}
	if err := outside.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := outside.Wait(); err == nil || err.Error() != "signal: interrupt" {
		t.Errorf("a process that is not in the group: %v, want it to have gone on until now", err)
	}
}

// start1000 starts a process that does nothing for so many seconds.
func start1000(t *testing.T) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Wait() })

	return command
}

// is fails the test unless a process is in a group.
func is(t *testing.T, of *exec.Cmd, want string) {
	t.Helper()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", of.Process.Pid))
	if err != nil || !strings.Contains("\n"+string(groups), "\n0::"+want+"\n") {
		t.Errorf("the process is in %q, want %q: %v", groups, want, err)
	}
}
