package child

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFreeze proves that a frozen program does not end when asked to, and does
// once it goes on.
func TestFreeze(t *testing.T) {
	c := shell(t, `echo 'msg=listening what=shell address=x'; exec sleep 60`)
	if _, err := c.Address(withDeadline(t, 10*time.Second), "shell"); err != nil {
		t.Fatal(err)
	}
	if err := c.Freeze(); err != nil {
		t.Fatal(err)
	}
	awaitStopped(t, c.PID())
	if err := c.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
		t.Fatal("it ended while frozen")
	case <-time.After(100 * time.Millisecond):
	}
	if err := c.Thaw(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("it did not end after the thaw")
	}
	c.Kill()
	if err := c.Thaw(); err == nil {
		t.Error("thawing an ended program is no error")
	}
}

// awaitStopped waits until the kernel has stopped the process.
func awaitStopped(t *testing.T, pid int) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		// The state comes after the name, which is in parentheses.
		if at := strings.LastIndexByte(string(stat), ')'); strings.HasPrefix(string(stat[at+1:]), " T") {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("it is not stopped: %s", stat)
		}
	}
}
