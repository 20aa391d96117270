package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

// controlPlaneCommand makes this program run etcd and kube-apiserver and nothing
// else. They get a process of their own between nagi and them, because that
// process is told by the kernel when nagi is killed and can then end them and
// remove what they wrote; they themselves would be left behind.
const controlPlaneCommand = "control-plane"

// announcedKubernetes is what of the line that gives the control plane's facts.
const announcedKubernetes = "kubernetes"

const (
	livenessInterval = 2 * time.Second
	livenessTimeout  = 5 * time.Second
	// livenessFailures is how many questions in a row must fail before the
	// control plane counts as dead.
	livenessFailures = 3
)

func runControlPlane(args []string) error {
	set := pflag.NewFlagSet("nagi "+controlPlaneCommand, pflag.ContinueOnError)
	orphanRemoves := set.String("orphan-removes", "", "directory to remove in the end if the parent process has died")
	if err := set.Parse(args); err != nil {
		return err
	}
	parent := os.Getppid()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// What is written here goes to the parent, which may be killed: a
	// write to a broken pipe on stderr would end this process, unless it is notified,
	// before it has ended etcd and kube-apiserver.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))

	plane, err := controlplane.Start(func(e *envtest.Environment) { e.AttachControlPlaneOutput = true })
	if err != nil {
		return err
	}
	log.Info("listening", "what", announcedKubernetes, "address", plane.Config.Host, "kubeconfig", plane.Kubeconfig,
		"kubectl", plane.Kubectl)
	err = watchLiveness(ctx, plane)
	if stopErr := plane.Stop(); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("stop etcd and kube-apiserver: %w", stopErr))
	}
	if *orphanRemoves != "" && os.Getppid() != parent {
		err = errors.Join(err, os.RemoveAll(*orphanRemoves))
	}

	return err
}

// watchLiveness returns nil when ctx ends, and an error when the API server, or
// etcd behind it, answers no longer.
func watchLiveness(ctx context.Context, plane *controlplane.ControlPlane) error {
	client, err := discovery.NewDiscoveryClientForConfig(plane.Config)
	if err != nil {
		return fmt.Errorf("make a client for %s: %w", plane.Config.Host, err)
	}
	ticker := time.NewTicker(livenessInterval)
	defer ticker.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		asking, cancel := context.WithTimeout(ctx, livenessTimeout)
		_, err := client.RESTClient().Get().AbsPath("/livez").DoRaw(asking)
		cancel()
		if err == nil || ctx.Err() != nil {
			failures = 0

			continue
		}
		if failures++; failures == livenessFailures {
			return fmt.Errorf("the API server answers no longer: %w", err)
		}
	}
}
