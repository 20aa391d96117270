// Package certificates gives managers the certificates that they serve with, and their
// clients what these can be checked by: from a certificate authority of Nagi's own,
// which it makes, keeps in a Secret and renews, or from mounted files.
package certificates

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

const (
	// Object is the name of the Secret that holds the authority, in the managers' own
	// namespace, and of the ConfigMap with what clients trust, in each tenant's.
	Object = "nagi-ca"
	// bundleKey is where the ConfigMap has it, as a mounted directory does.
	bundleKey = "ca.crt"
	// interval is how often everything is looked at.
	interval = 10 * time.Second
	// passTimeout bounds one look.
	passTimeout = 30 * time.Second
	// attempts bounds how often it is begun anew because another manager wrote.
	attempts = 10
)

// Config says whose certificates are kept.
type Config struct {
	REST *rest.Config
	// Namespace is the managers' own, Namespaces are the tenants'.
	Namespace  string
	Namespaces []string
	// Names are what the certificate is for.
	Names Names
	// Dir holds tls.crt, tls.key and ca.crt, which take the place of the own authority;
	// empty: there is none.
	Dir        string
	Log        *slog.Logger
	Registerer prometheus.Registerer

	Lifetimes Lifetimes
	// Interval is how often everything is looked at; 10 s.
	Interval time.Duration
}

// Keeper keeps a manager's serving certificate, and what its clients trust, up to date.
type Keeper struct {
	config    Config
	core      coreclient.CoreV1Interface
	metrics   *metrics
	authority *authority
	// namespaces are given what clients trust.
	namespaces []string
	published  map[string]published // by namespace; only Run uses it
	serving    atomic.Pointer[tls.Certificate]

	mu  sync.Mutex
	err error // of the last look
}

// New prepares a keeper; Run keeps.
func New(config Config) (*Keeper, error) {
	config.Lifetimes.setDefaults()
	if config.Interval == 0 {
		config.Interval = interval
	}
	core, err := coreclient.NewForConfig(config.REST)
	if err != nil {
		return nil, fmt.Errorf("make a client for certificates: %w", err)
	}
	k := &Keeper{config: config, core: core, published: map[string]published{}}
	k.metrics = newMetrics(config.Registerer, k)
	k.namespaces = slices.Compact(slices.Sorted(slices.Values(append([]string{config.Namespace}, config.Namespaces...))))
	k.authority = &authority{secrets: core.Secrets(config.Namespace), config: &k.config}
	if config.Dir == "" {
		return k, nil
	}
	if _, _, err := mounted(config.Dir); err != nil {
		return nil, fmt.Errorf("--tls-cert-dir: %w", err)
	}

	return k, nil
}

// Credentials is the TLS configuration of a listener, whose certificate is the present
// one at each handshake. Connections that are there stay.
func (k *Keeper) Credentials() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if serving := k.serving.Load(); serving != nil {
				return serving, nil
			}

			return nil, errors.New("there is no certificate yet")
		},
	}
}

// Run keeps everything up to date until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(k.config.Interval)
	defer ticker.Stop()
	for {
		k.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look is one pass, and notes what came of it.
func (k *Keeper) look(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	err := k.pass(within)
	// Another manager was first: what it wrote is what there is.
	for again := 0; again < attempts && (apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)); again++ {
		err = k.pass(within)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		k.metrics.failures.Inc()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil && (k.err == nil || k.err.Error() != err.Error()) {
		k.config.Log.Warn("certificates are not up to date; what there is goes on", "err", err)
	}
	k.err = err
}

func (k *Keeper) pass(ctx context.Context) error {
	if k.config.Dir != "" {
		serving, bundle, err := mounted(k.config.Dir)
		if err != nil {
			return err
		}
		k.use(serving)

		_, err = k.publish(ctx, bundle)

		return err
	}
	rs, err := k.authority.look(ctx)
	if err != nil {
		// What there is in memory may have to sign all the same.
		return errors.Join(err, k.sign())
	}
	// Clients know of a root before anything is signed by it.
	done, err := k.publish(ctx, rs.bundle())
	if done {
		err = errors.Join(err, k.authority.tell(ctx))
	}

	return errors.Join(err, k.sign())
}

// sign renews the serving certificate where it is time.
func (k *Keeper) sign() error {
	now := time.Now()
	signer := k.authority.roots.signer(now)
	if signer == nil || !outlived(k.serving.Load(), signer, now) {
		return nil
	}
	serving, err := signer.serve(now, k.config.Lifetimes.Serving, k.config.Names)
	if err != nil {
		return err
	}
	k.use(serving)

	return nil
}

// use makes a certificate the one of the handshakes to come.
func (k *Keeper) use(serving *tls.Certificate) {
	if before := k.serving.Load(); before != nil && before.Leaf.Equal(serving.Leaf) {
		return
	}
	k.serving.Store(serving)
	k.config.Log.Info("a new serving certificate", "issuer", serving.Leaf.Issuer.CommonName,
		"until", serving.Leaf.NotAfter)
}

// Ready tells that there is no certificate to serve with: nil when there is.
func (k *Keeper) Ready() error {
	serving := k.serving.Load()
	switch {
	case serving != nil && time.Now().Before(serving.Leaf.NotAfter):
		return nil
	case k.Failing() != nil:
		return fmt.Errorf("there is no certificate to serve with: %w", k.Failing())
	default:
		return errors.New("there is no certificate to serve with yet")
	}
}

// Failing tells why certificates, or what clients trust, could not be brought up to
// date at the last look; nil when they were.
func (k *Keeper) Failing() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		return nil
	}

	return fmt.Errorf("certificates are not up to date: %w", k.err)
}
