//go:build linux

package plane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/child"
)

// stopLimit is how long one program may take to end.
const stopLimit = 30 * time.Second

// Programs are the processes of a system that is measured: etcd and kube-apiserver,
// and ours after them. What they write is in a directory of theirs until Stop.
type Programs struct {
	// Kubeconfig is a file's path, Etcd a URL.
	Kubeconfig, Etcd string

	root, work string
	children   []*child.Child // In the order of their start.
	logs       []io.Closer
}

// Start starts etcd and kube-apiserver by the own program, which must call Run when
// its arguments are these and the directory. root is the repository, with our programs
// in bin/.
func Start(ctx context.Context, root string, arguments ...string) (*Programs, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own program: %w", err)
	}
	work, err := Directory(root)
	if err != nil {
		return nil, err
	}
	p := &Programs{root: root, work: work}
	kubernetes, err := p.Spawn(Command, self, append(arguments, work)...)
	if err != nil {
		return nil, errors.Join(err, p.Stop(ctx, nil))
	}
	facts, err := kubernetes.Announced(ctx, "kubernetes")
	if err != nil {
		return nil, errors.Join(err, p.Stop(ctx, nil))
	}
	p.Kubeconfig, p.Etcd = facts["kubeconfig"], facts["etcd"]

	return p, nil
}

// Program starts one of our programs and waits until it is ready.
func (p *Programs) Program(ctx context.Context, name string, arguments ...string) (*child.Child, error) {
	c, err := p.Spawn(name, filepath.Join(p.root, "bin", name), arguments...)
	if err != nil {
		return nil, err
	}

	return c, c.Ready(ctx)
}

// Spawn starts a program. It is told by the kernel when the thread that started it
// ends: no thread of a benchmark that starts programs does.
func (p *Programs) Spawn(name, path string, arguments ...string) (*child.Child, error) {
	log, err := os.OpenFile(filepath.Join(p.work, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", name, err)
	}
	p.logs = append(p.logs, log)
	c, err := child.Start(child.Spec{
		Name: name, Path: path, Args: arguments, Output: log, Env: append(os.Environ(), "TMPDIR="+p.work),
	})
	if err != nil {
		return nil, err
	}
	p.children = append(p.children, c)

	return c, nil
}

// End stops one program now.
func (p *Programs) End(ctx context.Context, c *child.Child) error {
	p.children = slices.DeleteFunc(p.children, func(other *child.Child) bool { return other == c })
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()

	return c.Stop(ctx)
}

// Stop ends everything, in the reverse order of its start, and removes what it wrote.
// hangUp, which may be nil, is called before kube-apiserver's turn: that one waits for
// its clients.
func (p *Programs) Stop(ctx context.Context, hangUp func()) error {
	var problems []error
	for i, c := range slices.Backward(p.children) {
		if i == 0 && hangUp != nil {
			hangUp()
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		problems = append(problems, c.Stop(ctx))
		cancel()
	}
	for _, log := range p.logs {
		problems = append(problems, log.Close())
	}

	return errors.Join(append(problems, os.RemoveAll(p.work))...)
}
