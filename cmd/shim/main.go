// Command shim serves Sora's HTTP API for pausing RTP streams on top of
// RtpStreamPause objects.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	"github.com/nagi-rtc/nagi/cmd/internal/ops"
	"github.com/nagi-rtc/nagi/cmd/shim/callers"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
	"github.com/nagi-rtc/nagi/cmd/shim/sora"
	"github.com/nagi-rtc/nagi/internal/bounds"
)

// maxHeaderBytes is ample for the one header that matters.
const maxHeaderBytes = 64 << 10

// writeTimeout bounds, beyond the waits of a request itself, how long a client
// may take its response in.
const writeTimeout = 30 * time.Second

type options struct {
	kubeconfig, namespace, listen, metricsListen string
	corsOrigins                                  []string
	managers, audiences                          []string
	credentials                                  managers.Credentials
	// allowAnonymous serves requests without a token: by default on loopback alone.
	// askedTo tells that somebody wrote it.
	allowAnonymous, askedTo bool
	pauseTimeout            time.Duration
	// maxConnections are TCP's, in all and from one address.
	maxConnections, maxConnectionsPerAddress int
}

func main() {
	os.Exit(start(context.Background(), os.Args[1:], ops.NewLogger(os.Stderr)))
}

func start(ctx context.Context, arguments []string, log *slog.Logger) (status int) {
	return ops.Main(ctx, log, "shim", arguments, parse, run)
}

func parse(arguments []string) (options, error) {
	var o options
	flags := pflag.NewFlagSet("shim", pflag.ContinueOnError)
	ops.Help(flags, "Serves Sora's HTTP API for pausing RTP streams, by RtpStreamPause objects of one namespace.",
		[2]string{
			"On this machine, with the cluster of kubectl's current context, for programs here:", "--namespace=meetings",
		},
		[2]string{"In a cluster, as config/shim has it:", "--namespace=meetings --listen=:3000 " +
			"--managers=nagi-manager.nagi-system.svc:7300 --manager-ca=/var/run/nagi/ca/ca.crt " +
			"--token-file=/var/run/secrets/nagi/token"},
	)
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "file with the API server's address and credentials; empty: "+
		"$KUBECONFIG, ~/.kube/config or, in a pod, the ServiceAccount")
	flags.StringVar(&o.namespace, "namespace", "default", "namespace whose pauses are served")
	flags.StringSliceVar(&o.managers, "managers", []string{"127.0.0.1:7300"},
		"host:port of every manager; a name stands for all of its addresses and is looked up again every 5 s")
	flags.StringVar(&o.credentials.CAFile, "manager-ca", "", "file of the certificates that sign the managers', "+
		"such as ca.crt of the ConfigMap nagi-ca; it may change; empty: plaintext to managers on loopback")
	flags.StringVar(&o.credentials.TokenFile, "token-file", "", "file with the token that managers are shown: "+
		"a projected ServiceAccount token with the audience nagi; it may change")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:3000", "host:port of the HTTP API; on loopback it asks for no token")
	flags.StringSliceVar(&o.audiences, "audience", []string{callers.DefaultAudience},
		"audiences that a program's token may be for, one of which suffices; empty: tokens are not looked at")
	flags.BoolVar(&o.allowAnonymous, "allow-anonymous", false,
		"serve requests without a token wherever they come from; =false: not on loopback either")
	flags.StringSliceVar(&o.corsOrigins, "cors-origin", nil,
		"origins whose pages may call, such as http://127.0.0.1:5000; empty: none")
	flags.DurationVar(&o.pauseTimeout, "pause-timeout", sora.DefaultPauseTimeout,
		"how long a pause may take to be enforced, and managers that are behind to catch up, before the answer is 503")
	flags.IntVar(&o.maxConnections, "max-connections", 2048,
		"TCP connections to the HTTP API at a time; those beyond it are cut at once")
	flags.IntVar(&o.maxConnectionsPerAddress, "max-connections-per-address", 512,
		"the same from one IPv4 address, or one /64 of IPv6; behind a proxy give the number of --max-connections")
	flags.StringVar(&o.metricsListen, "metrics-listen", "127.0.0.1:9302", "host:port of /metrics, /healthz and /readyz")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag: the shim takes flags only, --help lists them", flags.Arg(0))
	}
	if o.pauseTimeout <= 0 {
		return o, fmt.Errorf("--pause-timeout=%v: give a positive duration such as 5s", o.pauseTimeout)
	}
	for flag, most := range map[string]int{
		"--max-connections": o.maxConnections, "--max-connections-per-address": o.maxConnectionsPerAddress,
	} {
		if most <= 0 {
			return o, fmt.Errorf("%s=%d: give a positive number, such as 1024", flag, most)
		}
	}
	if o.namespace == "" {
		return o, errors.New("--namespace is empty: name the namespace of the tenant")
	}
	if err := o.credentials.Check(o.managers); err != nil {
		return o, err
	}
	for _, origin := range o.corsOrigins {
		if err := sora.CheckOrigin(origin); err != nil {
			return o, fmt.Errorf("--cors-origin: %w", err)
		}
	}
	o.askedTo = flags.Changed("allow-anonymous")
	if !o.askedTo {
		o.allowAnonymous = ops.IsLoopback(o.listen)
	}

	return o, o.checkCallers()
}

// checkCallers refuses an API that would serve nobody, or whoever comes by an oversight.
func (o *options) checkCallers() error {
	switch {
	case slices.Contains(o.audiences, ""):
		return fmt.Errorf("--audience=%s: one of them is empty: name each, such as %s",
			strings.Join(o.audiences, ","), callers.DefaultAudience)
	case len(o.audiences) == 0 && !o.allowAnonymous:
		return fmt.Errorf("--audience is empty, so no token is accepted, and without one nobody is served at --listen=%s: "+
			"name the audience of the programs' tokens, such as --audience=%s, or let everybody in with --allow-anonymous",
			o.listen, callers.DefaultAudience)
	}

	return nil
}

func run(ctx context.Context, o options, log *slog.Logger) error {
	kubernetes, err := restConfig(o.kubeconfig)
	if err != nil {
		return fmt.Errorf("find the API server: %w; give a kubeconfig with --kubeconfig", err)
	}
	objects, err := sora.NewClient(kubernetes)
	if err != nil {
		return err
	}
	replicas, err := live.NewReplicas(o.managers, o.namespace, o.credentials, log)
	if err != nil {
		return err
	}
	registry := ops.NewRegistry()
	var reviews *callers.Reviews
	if len(o.audiences) > 0 {
		reviews = callers.New(callers.Config{
			API: objects, Namespace: o.namespace, Audiences: o.audiences, Registerer: registry,
		})
	}
	handler, err := sora.New(sora.Config{
		Namespace: o.namespace, Client: objects, Replicas: replicas, PauseTimeout: o.pauseTimeout,
		CORSOrigins: o.corsOrigins, Reviews: reviews, AllowAnonymous: o.allowAnonymous, Log: log, Registerer: registry,
	})
	if err != nil {
		return err
	}

	metricsListener, err := ops.Listen(ctx, log, ops.Metrics, o.metricsListen)
	if err != nil {
		return err
	}
	listener, err := ops.Listen(ctx, log, ops.HTTP, o.listen)
	if err != nil {
		return errors.Join(err, metricsListener.Close())
	}
	crowd := bounds.NewCrowd(o.maxConnections, o.maxConnectionsPerAddress)
	listener = bounds.Listener(listener, crowd, refusedConnections(registry))
	if o.askedTo && o.allowAnonymous {
		log.Warn("--allow-anonymous: whoever reaches the HTTP API may pause, resume and disconnect without a token; "+
			"let the network keep strangers out", "address", listener.Addr().String())
	}

	// Requests in flight are answered after SIGTERM too, so the connections to the
	// managers end only after the server.
	replicasContext, endReplicas := context.WithCancel(context.WithoutCancel(ctx))
	replicasEnded := make(chan struct{})
	go func() {
		defer close(replicasEnded)
		replicas.Run(replicasContext)
	}()
	defer func() {
		endReplicas()
		<-replicasEnded
	}()

	return ops.Run(ctx,
		func(ctx context.Context) error {
			return ops.Serve(ctx, newServer(handler, o.pauseTimeout, log), listener)
		},
		func(ctx context.Context) error {
			return ops.Serve(ctx,
				&http.Server{Handler: ops.Handler(registry, handler.Ready), ReadHeaderTimeout: 10 * time.Second}, metricsListener)
		},
	)
}

// refusedConnections counts the connections that are beyond a bound.
func refusedConnections(registerer prometheus.Registerer) func(bounds.Reached) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nagi_shim_refused_connections_total",
		Help: "TCP connections that were cut at once, by the bound that was reached: of all, or of one address.",
	}, []string{"bound"})
	registerer.MustRegister(refused)

	return func(reached bounds.Reached) { refused.WithLabelValues(string(reached)).Inc() }
}

func newServer(handler http.Handler, pauseTimeout time.Duration, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		WriteTimeout:      sora.DefaultBodyTimeout + callers.Timeout + pauseTimeout + writeTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// OPTIONS * is as wrong a path as any other.
		DisableGeneralOptionsHandler: true,
	}
}

// restConfig follows kubectl's order: the flag, $KUBECONFIG, the home directory,
// then the pod's ServiceAccount.
func restConfig(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig

	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
}
