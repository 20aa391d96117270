package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// group is the control group of everything that runs, below the root of each hierarchy.
const group = "nagi-cluster"

const groupRoot = "/sys/fs/cgroup"

// lock keeps a second cluster from the machine as long as this process lives.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the machine: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()

		return nil, fmt.Errorf("lock %s: %w; another cluster runs: wait for its end", path, err)
	}

	return func() { _ = errors.Join(os.Remove(path), file.Close()) }, nil
}

// clearLeftovers removes whatever an earlier run has left: processes, control groups, mounts and files.
func clearLeftovers(dir string) error { return clearAll(dir, "") }

// clearAll ends what runs in the group and removes everything but dir/keep.
func clearAll(dir, keep string) error {
	return errors.Join(endGroup(), removeGroups(), unmountBelow(dir), removeBelow(dir, keep))
}

// hierarchies are the mounted hierarchies of control groups: one, of version 2, or one for each controller.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(groupRoot, "cgroup.procs")); err == nil {
		return []string{groupRoot}, nil
	}
	found, err := filepath.Glob(filepath.Join(groupRoot, "*", "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no control groups are mounted below %s", groupRoot)
	}

	return found, nil
}

// makeGroup makes a group in ours in each hierarchy, and puts a process into it unless pid is 0.
func makeGroup(name string, pid int) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		path := filepath.Join(root, group, name)
		for _, made := range []string{filepath.Dir(path), path} {
			if err := makeOne(made); err != nil {
				return err
			}
		}
		if err := enter(path, pid); err != nil {
			return err
		}
	}

	return nil
}

// makeOne makes a control group that takes processes: a cpuset begins empty, and takes none.
func makeOne(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make a control group: %w", err)
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own := filepath.Join(path, file)
		value, err := os.ReadFile(filepath.Join(filepath.Dir(path), file))
		if _, none := os.Stat(own); err != nil || none != nil {
			continue // No such controller here.
		}
		if err := os.WriteFile(own, value, 0o600); err != nil {
			return fmt.Errorf("make a control group: %w", err)
		}
	}

	return nil
}

func enter(path string, pid int) error {
	if pid == 0 {
		return nil
	}
	if err := os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600); err != nil {
		return fmt.Errorf("enter a control group: %w", err)
	}

	return nil
}

// leaveGroup puts a process back to where the hierarchies begin.
func leaveGroup(pid int) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := enter(root, pid); err != nil {
			return err
		}
	}

	return nil
}

// groups are the groups of ours that there are, the innermost first.
func groups() []string {
	roots, err := hierarchies()
	if err != nil {
		return nil
	}
	var found []string
	for _, root := range roots {
		_ = filepath.WalkDir(filepath.Join(root, group), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				found = append(found, path)
			}

			return nil
		})
	}
	slices.Reverse(found)

	return found
}

// endGroup kills all processes in our groups, and waits until there are none.
func endGroup() error {
	left := ""
	for end := time.Now().Add(ending); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		left = ""
		for _, path := range groups() {
			content, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			for pid := range strings.FieldsSeq(string(content)) {
				if number, err := strconv.Atoi(pid); err == nil && number > 0 {
					left += " " + pid
					_ = syscall.Kill(number, syscall.SIGKILL)
				}
			}
		}
		if left == "" {
			return nil
		}
	}

	return fmt.Errorf("processes that do not end:%s", left)
}

func removeGroups() error {
	var last error
	for end := time.Now().Add(ending); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		last = nil
		for _, path := range groups() {
			if err := syscall.Rmdir(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				last = fmt.Errorf("remove %s: %w", path, err)
			}
		}
		if last == nil {
			return nil
		}
	}

	return last
}

// unmountBelow unmounts what is mounted below a directory here. The cluster's mounts are in namespaces of its own, so
// there is nothing unless somebody looked into these.
func unmountBelow(dir string) error {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("look for mounts: %w", err)
	}
	defer file.Close()
	var mounts []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			mounts = append(mounts, fields[4])
		}
	}
	slices.Reverse(mounts)
	for _, mount := range mounts {
		if err := syscall.Unmount(mount, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", mount, err)
		}
	}

	return nil
}

func removeBelow(dir, keep string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove what was written: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == keep {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("remove what was written: %w", err)
		}
	}
	if keep == "" {
		return os.Remove(dir)
	}

	return nil
}
