//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/hack/bench/plane"
)

const (
	startLimit = time.Minute
	// namespace is the tenant.
	namespace = "default"
)

// nagi is our whole system, each part a process of its own.
type nagi struct {
	programs *plane.Programs

	shimURL, signaling string

	kubernetes *kubernetes
	manager    *grpc.ClientConn
	view       forwardingv1.ViewClient
	http       *http.Client
}

func startSystem(ctx context.Context, root string) (*nagi, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not within %s", startLimit))
	defer cancel()
	programs, err := plane.Start(ctx, root, "pause", plane.Command)
	if err != nil {
		return nil, fmt.Errorf("start the whole system: %w", err)
	}
	n := &nagi{programs: programs, http: &http.Client{Transport: &http.Transport{}}}
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the whole system: %w", err), n.stop(ctx))
	}

	return n, nil
}

func (n *nagi) start(ctx context.Context) error {
	kubeconfig := "--kubeconfig=" + n.programs.Kubeconfig
	manager, err := n.program(ctx, "manager", "grpc", kubeconfig)
	if err != nil {
		return err
	}
	shim, err := n.program(ctx, "shim", "http", kubeconfig, "--managers="+manager)
	if err != nil {
		return err
	}
	n.shimURL = "http://" + shim + "/"
	if n.signaling, err = n.program(ctx, "mediaserver", "signaling", "--managers="+manager,
		"--media-listen=127.0.0.1:0"); err != nil {
		return err
	}
	if n.manager, err = grpc.NewClient(manager, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return fmt.Errorf("make a client of the manager: %w", err)
	}
	n.view = forwardingv1.NewViewClient(n.manager)
	n.kubernetes, err = connectKubernetes(ctx, n.programs.Kubeconfig)

	return err
}

// program starts one of our programs and returns the address that it announces.
func (n *nagi) program(ctx context.Context, name, what string, arguments ...string) (string, error) {
	c, err := n.programs.Program(ctx, name, append(arguments, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0")...)
	if err != nil {
		return "", err
	}

	return c.Address(ctx, what)
}

// stop ends everything. Watches go first: the API server waits for them.
func (n *nagi) stop(ctx context.Context) error {
	if n.kubernetes != nil {
		n.kubernetes.close()
	}
	n.http.CloseIdleConnections()
	var problem error
	if n.manager != nil {
		problem = n.manager.Close()
	}

	return errors.Join(problem, n.programs.Stop(ctx, nil))
}
