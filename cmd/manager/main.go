// Command manager watches RtpStreamPause objects, serves forwarding tables and
// View to media servers and shims, and, while elected, writes status.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/nagi-rtc/nagi/cmd/internal/ops"
	"github.com/nagi-rtc/nagi/controllers/lifecycle"
	"github.com/nagi-rtc/nagi/controllers/serve"
)

type options struct {
	kubeconfig, listen, leaseNamespace, metricsListen string
	namespaces                                        []string
	mediaServerLost                                   time.Duration
}

func main() {
	var o options
	pflag.StringVar(&o.kubeconfig, "kubeconfig", "", "path of a kubeconfig; empty: $KUBECONFIG, the ServiceAccount of the pod, or ~/.kube/config")
	pflag.StringSliceVar(&o.namespaces, "namespaces", []string{"default"}, "namespaces to watch; each is a tenant")
	pflag.StringVar(&o.listen, "listen", "127.0.0.1:7300", "address of the gRPC services, loopback only")
	pflag.StringVar(&o.leaseNamespace, "lease-namespace", "default", "namespace of the Lease that elects the writer of status")
	pflag.DurationVar(&o.mediaServerLost, "media-server-lost", 10*time.Minute, "after this long out of touch, a media server's connections count as gone")
	pflag.StringVar(&o.metricsListen, "metrics-listen", "127.0.0.1:9301", "address of /metrics, /healthz and /readyz")
	pflag.Parse()

	log := ops.NewLogger(os.Stderr)
	if err := run(context.Background(), log, o); err != nil {
		log.Error("the manager ended", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger, o options) error {
	if pflag.NArg() > 0 {
		return fmt.Errorf("%q is no flag: the manager takes flags only, --help lists them", pflag.Arg(0))
	}
	if o.leaseNamespace == "" {
		return errors.New("--lease-namespace is empty: name the namespace of the Lease")
	}
	if err := ops.RequireLoopback(ops.GRPC, o.listen); err != nil {
		return err
	}
	if o.mediaServerLost <= 0 {
		return fmt.Errorf("--media-server-lost=%s: give a duration above 0", o.mediaServerLost)
	}
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	config, err := kubeconfig(o.kubeconfig)
	if err != nil {
		return err
	}

	return ops.Run(ctx, func(ctx context.Context) error { return manage(ctx, log, config, o) })
}

func kubeconfig(path string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w; name a kubeconfig with --kubeconfig", err)
	}
	config.QPS = -1 // the API server's fairness limits, not the client

	return config, nil
}

// manage runs serving and the elected part side by side until ctx ends.
func manage(ctx context.Context, log *slog.Logger, config *rest.Config, o options) error {
	manager, err := ctrl.NewManager(config, ctrl.Options{
		// Its own election would end the process when the lease is lost.
		LeaderElection: false,
		Metrics:        metricsserver.Options{BindAddress: "0"},
		Logger:         logr.FromSlogHandler(log.Handler()),
	})
	if err != nil {
		return fmt.Errorf("prepare the manager: %w", err)
	}
	server, err := serve.New(ctx, serve.Config{
		REST: config, Namespaces: o.namespaces, Log: log, Registerer: ctrlmetrics.Registry, MediaServerLost: o.mediaServerLost,
	})
	if err != nil {
		return err
	}
	elected, err := lifecycle.New(lifecycle.Config{
		REST: config, Knowledge: server, LeaseNamespace: o.leaseNamespace, Log: log,
		Registerer: ctrlmetrics.Registry, MediaServerLost: o.mediaServerLost,
	})
	if err != nil {
		return err
	}
	listener, err := ops.Listen(ctx, log, ops.GRPC, o.listen)
	if err != nil {
		return err
	}
	probes, err := ops.Listen(ctx, log, ops.Metrics, o.metricsListen)
	if err != nil {
		return err
	}
	for _, run := range []everywhere{
		func(ctx context.Context) error { return server.Run(ctx, listener) },
		func(ctx context.Context) error {
			return ops.Serve(ctx, &http.Server{Handler: ops.Handler(ctrlmetrics.Registry, server.Ready)}, probes)
		},
		elected.Run,
	} {
		if err := manager.Add(run); err != nil {
			return fmt.Errorf("prepare the manager: %w", err)
		}
	}

	return manager.Start(ctx)
}

// everywhere runs on every replica, elected or not.
type everywhere func(context.Context) error

func (e everywhere) Start(ctx context.Context) error { return e(ctx) }
func (e everywhere) NeedLeaderElection() bool        { return false }
