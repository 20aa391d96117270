// Command manager watches RtpStreamPause objects, serves forwarding tables and
// View to media servers and shims, and, while elected, writes status.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nagi-rtc/nagi/cmd/internal/ops"
	"github.com/nagi-rtc/nagi/controllers/certificates"
	"github.com/nagi-rtc/nagi/controllers/claims"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
	"github.com/nagi-rtc/nagi/controllers/lifecycle"
	"github.com/nagi-rtc/nagi/controllers/serve"
)

type options struct {
	kubeconfig, listen, leaseNamespace, metricsListen string
	tlsCertDir                                        string
	namespaces, servingNames                          []string
	maxConnections, maxConnectionsPerAddress          int
	mediaServerLost, takeoverAfter                    time.Duration
}

func main() {
	os.Exit(ops.Main(context.Background(), ops.NewLogger(os.Stderr), "manager", os.Args[1:], parse, run))
}

func parse(arguments []string) (options, error) {
	var o options
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	ops.Help(flags, "Watches RtpStreamPause objects, serves them to media servers, and writes their status.",
		[2]string{"On this machine, with the cluster of kubectl's current context:", "--namespaces=meetings"},
		[2]string{"In a cluster, as config/manager has it:",
			"--namespaces=meetings --lease-namespace=nagi-system --listen=:7300 " +
				"--serving-names=nagi-manager.nagi-system.svc"},
	)
	flags.StringVar(&o.kubeconfig, "kubeconfig", "",
		"path of a kubeconfig; empty: $KUBECONFIG, the ServiceAccount of the pod, or ~/.kube/config")
	flags.StringSliceVar(&o.namespaces, "namespaces", []string{"default"}, "namespaces to watch; each is a tenant")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:7300", "address of the gRPC services: "+
		"plaintext and open to everybody on loopback, else TLS and reviewed ServiceAccount tokens")
	flags.StringSliceVar(&o.servingNames, "serving-names", nil, "DNS names and IP addresses, "+
		"beside this machine's own, that the certificate of the gRPC services is for: what clients have in --managers")
	flags.StringVar(&o.tlsCertDir, "tls-cert-dir", "", "directory with tls.crt, tls.key and ca.crt, "+
		"read again when they change; empty: a certificate authority of Nagi's own, in the Secret nagi-ca")
	flags.StringVar(&o.leaseNamespace, "lease-namespace", "default",
		"the managers' own namespace: of the Lease that elects the writer of status, of those that say which media "+
			"server hosts a channel, and of the Secret nagi-ca")
	flags.IntVar(&o.maxConnections, "max-connections", 4096,
		"TCP connections to the gRPC services at a time, where other machines reach them; those beyond it are cut at once")
	flags.IntVar(&o.maxConnectionsPerAddress, "max-connections-per-address", 512,
		"the same from one IPv4 address, or one /64 of IPv6")
	flags.DurationVar(&o.mediaServerLost, "media-server-lost", 10*time.Minute,
		"after this long out of touch, a media server's connections count as gone")
	flags.DurationVar(&o.takeoverAfter, "takeover-after", 30*time.Second, "after this long of silence, "+
		"a media server whose pod is not ready and that no other media server reaches loses its channels to others")
	flags.StringVar(&o.metricsListen, "metrics-listen", "127.0.0.1:9301", "address of /metrics, /healthz and /readyz")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag: the manager takes flags only, --help lists them", flags.Arg(0))
	}
	if o.leaseNamespace == "" {
		return o, errors.New("--lease-namespace is empty: name the namespace of the Lease")
	}
	if _, err := servingNames(o.servingNames); err != nil {
		return o, err
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		return o, fmt.Errorf("--listen: %w; write host:port, such as 127.0.0.1:7300", err)
	}
	if o.maxConnections <= 0 || o.maxConnectionsPerAddress <= 0 {
		return o, fmt.Errorf("--max-connections=%d, --max-connections-per-address=%d: give positive numbers, "+
			"such as 4096 and 512", o.maxConnections, o.maxConnectionsPerAddress)
	}
	if o.mediaServerLost <= 0 {
		return o, fmt.Errorf("--media-server-lost=%s: give a duration above 0", o.mediaServerLost)
	}
	if o.takeoverAfter <= 0 {
		return o, fmt.Errorf("--takeover-after=%s: give a duration above 0", o.takeoverAfter)
	}

	return o, nil
}

// garbage is by how much the heap may grow, in percent of what is in use, before it
// is collected: less than Go's 100, since what a manager has in use is all pauses
// there are, and its work is little. GOGC overrules it.
const garbage = 25

func run(ctx context.Context, o options, log *slog.Logger) error {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(garbage)
	}
	names, err := servingNames(o.servingNames)
	if err != nil {
		return err
	}
	config, err := kubeconfig(o.kubeconfig)
	if err != nil {
		return err
	}

	return manage(ctx, log, config, o, names)
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
func manage(ctx context.Context, log *slog.Logger, config *rest.Config, o options, names certificates.Names) error {
	registry := ops.NewRegistry()
	known, err := knowledge.New(knowledge.Config{
		REST: config, Namespaces: o.namespaces, Log: log, Registerer: registry, MediaServerLost: o.mediaServerLost,
	})
	if err != nil {
		return err
	}
	guarded, err := newGuard(config, o, names, log, registry)
	if err != nil {
		return err
	}
	claimed, err := claims.New(claims.Config{
		REST: config, Namespace: o.leaseNamespace, Namespaces: o.namespaces, Log: log, Registerer: registry,
		Pods: guarded.keeper != nil, TakeoverAfter: o.takeoverAfter, Changed: known.Claimed, Known: known.ClaimsKnown,
	})
	if err != nil {
		return err
	}
	serving := serve.Config{Knowledge: known, Claims: claimed, Log: log, Registerer: registry}
	guarded.let(&serving)
	server, err := serve.New(serving)
	if err != nil {
		return err
	}
	elected, err := lifecycle.New(lifecycle.Config{
		REST: config, Knowledge: known, LeaseNamespace: o.leaseNamespace, Log: log, Registerer: registry,
		Collect: func(ctx context.Context) { claimed.Collect(ctx, server.Hosting()) },
	})
	if err != nil {
		return err
	}
	listener, err := ops.Listen(ctx, log, ops.GRPC, o.listen)
	if err != nil {
		return err
	}
	listener = guarded.before(listener)
	probes, err := ops.Listen(ctx, log, ops.Metrics, o.metricsListen)
	if err != nil {
		return err
	}
	undecodable := func() error { return actOnNobody(known.Undecodable()) }

	ready := func() error { return errors.Join(known.Ready(), guarded.ready()) }

	return ops.Run(ctx,
		guarded.run,
		known.Run,
		claimed.Run,
		func(ctx context.Context) error { return claimed.FindGone(ctx, server.Hosting()) },
		func(ctx context.Context) error { return server.Run(ctx, listener) },
		func(ctx context.Context) error {
			return ops.Serve(ctx, &http.Server{Handler: ops.Handler(
				registry, ready, undecodable, elected.GaveUp, elected.Unelectable, claimed.Followed, guarded.detail,
			)}, probes)
		},
		elected.Run,
	)
}

// namedUndecodable is how many objects that do not decode readiness names, as
// metrics do.
const namedUndecodable = 20

// actOnNobody tells of the objects that do not decode; nil when there are none.
func actOnNobody(names []string) error {
	if len(names) == 0 {
		return nil
	}
	if more := len(names) - namedUndecodable; more > 0 {
		names = append(names[:namedUndecodable:namedUndecodable], fmt.Sprintf("and %d more", more))
	}

	return fmt.Errorf("stored objects that do not decode act on nobody: %s; mend or delete them",
		strings.Join(names, "; "))
}
