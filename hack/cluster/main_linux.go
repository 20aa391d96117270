// Command cluster runs a command beside a real Kubernetes cluster of several nodes, on one machine, without a
// registry or a container engine: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, and for each
// node containerd, kubelet, kube-proxy and, for network policies, kube-router in a mount and a network namespace of its
// own.
//
// All of it lives in namespaces that end with the program, however that ends, and leaves nothing on the machine but a
// directory and a control group, which the program removes when it ends, or else when it starts the next time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// options are what the program is told.
type options struct {
	dir    string // Everything that is written lies below.
	assets string // The directory of the programs: hack/controlplane/assets.sh cluster.
	images string // A directory of image archives, which every node imports.
	nodes  int
}

func main() {
	// The kernel ends the cluster with the thread that started it.
	runtime.LockOSThread()
	if err := run(os.Args[1:]); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			os.Exit(exit.ExitCode()) // It has said why.
		}
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// The first argument of the program when it starts itself again, inside the namespaces.
const (
	roleInit   = "as-init"
	roleInside = "as-control-plane"
	roleNode   = "as-node"
)

func run(arguments []string) error {
	role := ""
	if len(arguments) > 0 {
		switch arguments[0] {
		case roleInit, roleInside, roleNode:
			role, arguments = arguments[0], arguments[1:]
		}
	}
	var o options
	flags := flag.NewFlagSet("cluster", flag.ExitOnError)
	flags.StringVar(&o.dir, "dir", "/var/tmp/nagi-cluster", "directory for everything that is written; it is removed")
	flags.StringVar(&o.assets, "assets", "", "directory of the programs")
	flags.StringVar(&o.images, "images", "", "directory of image archives")
	flags.IntVar(&o.nodes, "nodes", 3, "how many nodes")
	_ = flags.Parse(arguments) // It ends the process on an error.
	if flags.NArg() == 0 {
		return errors.New("no command: write cluster [options] COMMAND [ARGUMENT...]")
	}
	switch role {
	case roleInit:
		return asInit(arguments)
	case roleInside:
		return o.inside(flags.Args())
	case roleNode:
		index, err := strconv.Atoi(flags.Arg(0))
		if err != nil {
			return fmt.Errorf("which node: %w", err)
		}

		return o.node(index)
	default:
		return o.outside(arguments)
	}
}

// outside clears what an earlier run has left, runs the cluster in namespaces, and clears what that leaves.
func (o options) outside(arguments []string) error {
	if os.Getuid() != 0 {
		return errors.New("it makes network namespaces and containers: run it as root")
	}
	if err := os.MkdirAll(filepath.Dir(o.dir), 0o755); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	unlock, err := lock("/run/" + group + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if err := clearLeftovers(o.dir); err != nil {
		return fmt.Errorf("clear what an earlier run has left: %w", err)
	}
	// Below ours: in version 2 a group that has others with controllers below has no processes of its own.
	if err := makeGroup("programs", os.Getpid()); err != nil {
		return err
	}
	command, err := again(roleInit, arguments)
	if err != nil {
		return err
	}
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	interrupted, failed := forwardSignals(command)
	keep := ""
	if failed != nil && !interrupted {
		keep = "log" // They tell why.
	}
	if err := leaveGroup(os.Getpid()); err != nil {
		return errors.Join(failed, err)
	}
	if err := clearAll(o.dir, keep); err != nil {
		return errors.Join(failed, fmt.Errorf("clear up: %w", err))
	}
	if keep != "" {
		fmt.Fprintln(os.Stderr, "cluster: the logs are in", filepath.Join(o.dir, keep))
	}

	return failed
}

// again is this program in another role.
func again(role string, arguments []string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	command := exec.CommandContext(context.Background(), self, append([]string{role}, arguments...)...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr

	return command, nil
}

// ending is how long a command may take to end once it has been asked to.
const ending = 30 * time.Second

// forwardSignals runs a command that is asked to end when this program is, and killed when it does not.
func forwardSignals(command *exec.Cmd) (interrupted bool, err error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := command.Start(); err != nil {
		return false, fmt.Errorf("run %s: %w", command.Path, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		select {
		case err := <-ended:
			return interrupted, err
		case <-signals:
			interrupted = true
			_ = command.Process.Signal(syscall.SIGTERM)
			kill := time.AfterFunc(ending, func() { _ = command.Process.Kill() })
			defer kill.Stop()
		}
	}
}

// asInit is the first process of the namespaces: it mounts what belongs to them, starts the rest, and takes leave of
// processes that have lost their parents. When it ends the kernel ends all others.
func asInit(arguments []string) error {
	if err := privateMounts(); err != nil {
		return err
	}
	command, err := again(roleInside, arguments)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if err := command.Start(); err != nil {
		return fmt.Errorf("run the control plane: %w", err)
	}
	go func() {
		for range signals {
			_ = command.Process.Signal(syscall.SIGTERM)
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the control plane: %w", err)
		case pid == command.Process.Pid && status.Exited():
			os.Exit(status.ExitStatus())
		case pid == command.Process.Pid:
			return fmt.Errorf("the control plane ended by %s", status.Signal())
		}
	}
}
