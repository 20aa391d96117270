package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/credentials"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/nagi-rtc/nagi/cmd/internal/ops"
	"github.com/nagi-rtc/nagi/controllers/certificates"
	"github.com/nagi-rtc/nagi/controllers/identity"
	"github.com/nagi-rtc/nagi/controllers/serve"
	"github.com/nagi-rtc/nagi/internal/bounds"
)

// guard is what stands before the gRPC services where other machines reach them: TLS,
// and the review of who calls. Its zero value stands before nothing, as on loopback.
type guard struct {
	keeper   *certificates.Keeper
	reviewer *identity.Reviewer
	// bound has a listener cut the connections that are too many.
	bound func(net.Listener) net.Listener
}

func newGuard(
	config *rest.Config, o options, names certificates.Names, log *slog.Logger, registerer prometheus.Registerer,
) (guard, error) {
	if ops.IsLoopback(o.listen) {
		if len(o.servingNames) > 0 || o.tlsCertDir != "" {
			return guard{}, fmt.Errorf("--listen=%s is on loopback, where there is no TLS: leave --serving-names and "+
				"--tls-cert-dir out, or listen where other machines reach it, such as 0.0.0.0:7300", o.listen)
		}

		return guard{}, nil
	}
	keeper, err := certificates.New(certificates.Config{
		REST:       config,
		Namespace:  o.leaseNamespace,
		Namespaces: o.namespaces,
		Names:      names,
		Dir:        o.tlsCertDir,
		Log:        log,
		Registerer: registerer,
	})
	if err != nil {
		return guard{}, err
	}
	reviewer, err := identity.New(identity.Config{REST: config, Log: log, Registerer: registerer})
	if err != nil {
		return guard{}, err
	}

	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "nagi_refused_connections_total",
		Help: "TCP connections that were cut at once, by the bound that was reached: of all, or of one address.",
	}, []string{"bound"})
	registerer.MustRegister(refused)

	return guard{keeper, reviewer, func(listener net.Listener) net.Listener {
		crowd := bounds.NewCrowd(o.maxConnections, o.maxConnectionsPerAddress)

		return bounds.Listener(listener, crowd, func(reached bounds.Reached) {
			refused.WithLabelValues(string(reached)).Inc()
		})
	}}, nil
}

// before puts the guard before a listener.
func (g guard) before(listener net.Listener) net.Listener {
	if g.bound == nil {
		return listener
	}

	return g.bound(impatient{listener})
}

// let has a server let in whom the guard lets in.
func (g guard) let(serving *serve.Config) {
	if g.keeper != nil {
		serving.Credentials = credentials.NewTLS(g.keeper.Credentials())
		serving.Reviewer = g.reviewer
	}
}

func (g guard) run(ctx context.Context) error {
	if g.keeper == nil {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.keeper.Run(ctx) })
	group.Go(func() error { return g.reviewer.Run(ctx) })

	return group.Wait()
}

// ready tells why nobody can come in.
func (g guard) ready() error {
	if g.keeper == nil {
		return nil
	}
	if err := g.keeper.Ready(); err != nil {
		return err
	}

	return g.reviewer.Ready()
}

// detail tells what will keep somebody out later.
func (g guard) detail() error {
	if g.keeper == nil {
		return nil
	}

	return g.keeper.Failing()
}

// servingNames are whom a manager's certificate is for: what --serving-names says, and
// this machine's addresses, a pod's among them.
func servingNames(texts []string) (certificates.Names, error) {
	var names certificates.Names
	for _, text := range texts {
		if address := net.ParseIP(text); address != nil {
			names.Addresses = append(names.Addresses, address)

			continue
		}
		if problems := validation.IsDNS1123Subdomain(text); len(problems) > 0 {
			return names, fmt.Errorf("--serving-names=%s is neither an IP address nor a DNS name: %s", text, problems[0])
		}
		names.DNS = append(names.DNS, text)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return names, fmt.Errorf("ask for this machine's addresses: %w", err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok {
			names.Addresses = append(names.Addresses, network.IP)
		}
	}

	return names, nil
}
