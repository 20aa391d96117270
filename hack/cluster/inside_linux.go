package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/child"
)

// patience bounds every wait for something to come up.
const patience = 2 * time.Minute

// Where the parts of a cluster lie, below its directory.
func (o options) certificates() string { return filepath.Join(o.dir, "certificates") }
func (o options) in(names ...string) string {
	return filepath.Join(append([]string{o.dir}, names...)...)
}
func (o options) kubeconfig(who string) string {
	return filepath.Join(o.certificates(), who+".kubeconfig")
}

// inside starts the control plane and the nodes, waits until they are ready, and runs the command.
func (o options) inside(command []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &programs{options: o, failed: cancel}
	if err := p.startAll(ctx); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}

	return p.command(ctx, command)
}

// programs are the processes of the cluster. None of them may end.
type programs struct {
	options

	failed context.CancelCauseFunc
}

// say tells how far it is.
func say(since time.Time, format string, values ...any) {
	fmt.Fprintf(os.Stderr, "cluster: %s (%.1f s)\n", fmt.Sprintf(format, values...), time.Since(since).Seconds())
}

// start starts a program that runs until the cluster ends. What it writes is in log/NAME.
func (p *programs) start(name, path string, arguments ...string) error {
	log, err := os.Create(p.in("log", name))
	if err != nil {
		return fmt.Errorf("make the log of %s: %w", name, err)
	}
	running, err := child.Start(child.Spec{Name: name, Path: path, Args: arguments, Output: log})
	if err != nil {
		return err
	}
	go func() {
		<-running.Done()
		p.failed(running.EndError())
	}()

	return nil
}

func (p *programs) startAll(ctx context.Context) error {
	began := time.Now()
	for _, dir := range []string{"log", "certificates", "etcd"} {
		if err := os.MkdirAll(p.in(dir), 0o700); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
	}
	if err := p.sign(); err != nil {
		return err
	}
	if err := p.network(ctx); err != nil {
		return err
	}
	if err := p.controlPlane(ctx); err != nil {
		return err
	}
	say(began, "the control plane is ready")
	if err := p.addOns(ctx); err != nil {
		return err
	}
	for index := 1; index <= p.nodes; index++ {
		if err := p.startNode(index); err != nil {
			return err
		}
	}
	if err := p.await(ctx, "wait", "--for=condition=Ready", "node", "--all", "--timeout=2s"); err != nil {
		return err
	}
	say(began, "%d nodes are ready", p.nodes)
	if err := p.await(ctx, "--namespace=kube-system", "rollout", "status", nameServer, "--timeout=2s"); err != nil {
		return err
	}
	say(began, "the cluster's name server is ready")

	return nil
}

// sign makes all certificates and kubeconfigs.
func (p *programs) sign() error {
	a, err := newAuthority(p.certificates())
	if err != nil {
		return err
	}
	server := []string{
		controlPlaneAddress, firstServiceAddress, "127.0.0.1", "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
	problems := []error{
		a.sign("apiserver", "kube-apiserver", nil, server),
		a.sign("apiserver-kubelet", "kube-apiserver-kubelet", []string{"system:masters"}, nil),
		a.keyPair("service-accounts"),
		a.kubeconfig("admin", "admin", "system:masters"),
		a.kubeconfig("kube-controller-manager", "system:kube-controller-manager"),
		a.kubeconfig("kube-scheduler", "system:kube-scheduler"),
		a.kubeconfig("kube-proxy", "system:kube-proxy"),
		a.kubeconfig("kube-router", "kube-router"),
	}
	for index := 1; index <= p.nodes; index++ {
		name := nodeName(index)
		problems = append(problems,
			a.kubeconfig(name, "system:node:"+name, "system:nodes"),
			a.sign(name+"-serving", "system:node:"+name, []string{"system:nodes"}, []string{nodeAddress(index), name}))
	}

	return errors.Join(problems...)
}

func (p *programs) controlPlane(ctx context.Context) error {
	program := func(name string) string { return filepath.Join(p.assets, name) }
	certificate := func(name string) string { return filepath.Join(p.certificates(), name) }
	if err := errors.Join(
		p.start("etcd", program("etcd"), "--data-dir="+p.in("etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380"),
		p.start("kube-apiserver", program("kube-apiserver"),
			"--etcd-servers=http://127.0.0.1:2379", "--advertise-address="+controlPlaneAddress,
			"--service-cluster-ip-range="+serviceAddresses, "--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--client-ca-file="+certificate("ca.crt"),
			"--tls-cert-file="+certificate("apiserver.crt"), "--tls-private-key-file="+certificate("apiserver.key"),
			"--kubelet-client-certificate="+certificate("apiserver-kubelet.crt"),
			"--kubelet-client-key="+certificate("apiserver-kubelet.key"),
			"--kubelet-certificate-authority="+certificate("ca.crt"),
			"--kubelet-preferred-address-types=InternalIP", // No name server knows the nodes' names.
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file="+certificate("service-accounts.pub"),
			"--service-account-signing-key-file="+certificate("service-accounts.key")),
	); err != nil {
		return err
	}
	if err := p.await(ctx, "get", "--raw=/readyz"); err != nil {
		return err
	}

	return errors.Join(
		p.start("kube-controller-manager", program("kube-controller-manager"), "--leader-elect=false",
			"--kubeconfig="+p.kubeconfig("kube-controller-manager"), "--use-service-account-credentials",
			"--root-ca-file="+certificate("ca.crt"), "--service-account-private-key-file="+certificate("service-accounts.key")),
		p.start("kube-scheduler", program("kube-scheduler"), "--leader-elect=false",
			"--kubeconfig="+p.kubeconfig("kube-scheduler")),
	)
}

// kubectl is kubectl as the cluster's administrator.
func (p *programs) kubectl(ctx context.Context, arguments ...string) *exec.Cmd {
	arguments = append([]string{"--kubeconfig=" + p.kubeconfig("admin")}, arguments...)

	return exec.CommandContext(ctx, filepath.Join(p.assets, "kubectl"), arguments...)
}

// await repeats a kubectl command until it succeeds.
func (p *programs) await(ctx context.Context, arguments ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		output, err := p.kubectl(ctx, arguments...).CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(arguments, " "), err, output)
		}
	}
}

// command runs what was asked for, with kubectl and the cluster's facts in its environment, until it ends or a part of
// the cluster does.
func (p *programs) command(ctx context.Context, arguments []string) error {
	running := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	running.Stdin, running.Stdout, running.Stderr = os.Stdin, os.Stdout, os.Stderr
	running.Cancel = func() error { return running.Process.Signal(syscall.SIGTERM) }
	running.WaitDelay = ending / 2
	running.Env = append(os.Environ(),
		"KUBECONFIG="+p.kubeconfig("admin"),
		"PATH="+p.assets+string(os.PathListSeparator)+os.Getenv("PATH"),
		"NAGI_CLUSTER="+p.dir,
	)
	err := running.Run()
	if cause := context.Cause(ctx); cause != nil {
		return errors.Join(cause, err)
	}

	return err
}
