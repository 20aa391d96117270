//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	serverCore = 0 // Of those that this process may use.
	loadCore   = 1
	anyCore    = -1 // Not pinned.
)

// process is a child that is pinned to one core and dies with us.
type process struct {
	command *exec.Cmd
	exited  chan struct{}
	output  *tail
}

func startPinned(core int, command *exec.Cmd) (*process, error) {
	p := &process{command: command, exited: make(chan struct{}), output: &tail{}}
	if command.Stdout == nil {
		command.Stdout = p.output
	}
	if command.Stderr == nil {
		command.Stderr = p.output
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The child inherits its core from the thread that starts it; that thread
		// lives as long as the child, since Pdeathsig means the thread.
		runtime.LockOSThread()
		if err := pin(core); err != nil {
			started <- err

			return
		}
		if err := command.Start(); err != nil {
			started <- fmt.Errorf("start %s: %w", command.Path, err)

			return
		}
		started <- nil
		_ = command.Wait() // How it ended is told by whoever misses it.
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}

	return p, nil
}

// pin keeps the calling thread, and what it starts, on a core.
func pin(core int) error {
	if core == anyCore {
		return nil
	}
	cores, err := allowedCores()
	if err != nil {
		return err
	}
	var one unix.CPUSet
	one.Set(cores[core])
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("pin to core %d: %w", cores[core], err)
	}

	return nil
}

// allowedCores is asked once, before anything is pinned: containers often have
// others than the first ones.
var allowedCores = sync.OnceValues(func() ([]int, error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &allowed); err != nil {
		return nil, fmt.Errorf("ask which cores there are: %w", err)
	}
	var cores []int
	for core := 0; len(cores) <= loadCore && core < 8*int(unsafe.Sizeof(allowed)); core++ {
		if allowed.IsSet(core) {
			cores = append(cores, core)
		}
	}
	if len(cores) <= loadCore {
		return nil, errors.New("server and clients need a core each; run with two cores or more")
	}

	return cores, nil
})

// hasExited is true once the process is gone.
func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(time.Second):
		_ = p.command.Process.Kill()
		<-p.exited
	}
}

// cpu is the processor time that all threads of the process have used, also
// those that have ended: what /proc/PID/stat shows as utime + stime in steps of
// 10 ms, here in nanoseconds.
func (p *process) cpu() (time.Duration, error) {
	// MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of linux/posix-timers.h.
	clock := int32(^p.command.Process.Pid)<<3 | 2 //nolint:gosec // A pid has 22 bits at most.
	var used unix.Timespec
	if err := unix.ClockGettime(clock, &used); err != nil {
		return 0, fmt.Errorf("read the server's processor time: %w; its last words: %s", err, p.output)
	}

	return time.Duration(used.Nano()), nil
}

func (p *process) residentMegabytes() (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the server's memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kilobytes, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				return 0, fmt.Errorf("read the server's memory: %w", err)
			}

			return kilobytes / 1024, nil
		}
	}

	return 0, errors.New("/proc/PID/status has no VmRSS")
}

func gitRevision(ctx context.Context, root string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", root, "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}

	return strings.TrimSpace(string(out))
}
