//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	serverCore = 0
	loadCore   = 1
	// The kernel counts in USER_HZ, which is 100 on every Linux that Go runs on.
	clockTicksPerSecond = 100
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
		var cores unix.CPUSet
		cores.Set(core)
		if err := unix.SchedSetaffinity(0, &cores); err != nil {
			started <- fmt.Errorf("pin to core %d: %w; two cores are needed", core, err)
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

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		_ = p.command.Process.Kill()
		<-p.exited
	}
}

// cpu is the processor time that all threads of the process have used.
func (p *process) cpu() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the server's processor time: %w; its last words: %s", err, p.output)
	}
	// The name, field 2, may hold anything; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat has too few fields")
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(errUser, errSystem); err != nil {
		return 0, fmt.Errorf("read the server's processor time: %w", err)
	}
	return time.Duration(user+system) * time.Second / clockTicksPerSecond, nil
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
