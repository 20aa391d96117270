//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/cmd/nagi/child"
	"github.com/nagi-rtc/nagi/hack/bench/plane"
)

const (
	startLimit = time.Minute
	stopLimit  = 30 * time.Second
	// namespace is the tenant.
	namespace = "default"
)

// nagi is our whole system, each part a process of its own.
type nagi struct {
	root, work string
	children   []*child.Child // In the order of their start.
	logs       []io.Closer

	etcdURL, shimURL, signaling string

	kubernetes *kubernetes
	manager    *grpc.ClientConn
	view       forwardingv1.ViewClient
	http       *http.Client
}

func startSystem(ctx context.Context, root string) (*nagi, error) {
	work, err := plane.Directory(root)
	if err != nil {
		return nil, err
	}
	n := &nagi{root: root, work: work, http: &http.Client{Transport: &http.Transport{}}}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not within %s", startLimit))
	defer cancel()
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the whole system: %w", err), n.stop(ctx))
	}
	return n, nil
}

func (n *nagi) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the own program: %w", err)
	}
	kubernetes, err := n.spawn(plane.Command, self, "pause", plane.Command, n.work)
	if err != nil {
		return err
	}
	facts, err := kubernetes.Announced(ctx, "kubernetes")
	if err != nil {
		return err
	}
	n.etcdURL = facts["etcd"]
	kubeconfig := "--kubeconfig=" + facts["kubeconfig"]
	manager, err := n.program(ctx, "manager", "grpc", kubeconfig)
	if err != nil {
		return err
	}
	shim, err := n.program(ctx, "shim", "http", kubeconfig, "--managers="+manager)
	if err != nil {
		return err
	}
	n.shimURL = "http://" + shim + "/"
	if n.signaling, err = n.program(ctx, "mediaserver", "signaling", "--managers="+manager, "--media-listen=127.0.0.1:0"); err != nil {
		return err
	}
	if n.manager, err = grpc.NewClient(manager, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return fmt.Errorf("make a client of the manager: %w", err)
	}
	n.view = forwardingv1.NewViewClient(n.manager)
	n.kubernetes, err = connectKubernetes(ctx, facts["kubeconfig"])
	return err
}

// program starts one of our programs and returns the address that it announces.
func (n *nagi) program(ctx context.Context, name, what string, arguments ...string) (string, error) {
	path, err := filepath.Abs(filepath.Join(n.root, "bin", name))
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	c, err := n.spawn(name, path, append(arguments, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0")...)
	if err != nil {
		return "", err
	}
	if err := c.Ready(ctx); err != nil {
		return "", err
	}
	return c.Address(ctx, what)
}

// spawn starts a program that keeps all that it writes in the working directory.
// It is told by the kernel when the thread that started it ends: no thread of
// this process that starts programs does.
func (n *nagi) spawn(name, path string, arguments ...string) (*child.Child, error) {
	log, err := os.Create(filepath.Join(n.work, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", name, err)
	}
	n.logs = append(n.logs, log)
	c, err := child.Start(child.Spec{
		Name: name, Path: path, Args: arguments, Output: log, Env: append(os.Environ(), "TMPDIR="+n.work),
	})
	if err != nil {
		return nil, err
	}
	n.children = append(n.children, c)
	return c, nil
}

// stop ends everything, in the reverse order of its start, and removes what it
// wrote. Watches go first: the API server waits for them.
func (n *nagi) stop(ctx context.Context) error {
	var problems []error
	if n.kubernetes != nil {
		n.kubernetes.close()
	}
	n.http.CloseIdleConnections()
	if n.manager != nil {
		problems = append(problems, n.manager.Close())
	}
	for i := len(n.children) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		problems = append(problems, n.children[i].Stop(ctx))
		cancel()
	}
	for _, log := range n.logs {
		problems = append(problems, log.Close())
	}
	return errors.Join(append(problems, os.RemoveAll(n.work))...)
}
