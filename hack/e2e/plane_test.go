package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

// plane is a control plane whose API server and etcd can be killed and started
// again, with the same ports, certificates and data.
type plane struct {
	*controlplane.ControlPlane

	dir string // Of the certificates and of etcd's data.
}

// startPlane starts a control plane that keeps what it writes below dir.
func startPlane(dir string) (*plane, error) {
	p := &plane{dir: dir}
	for _, name := range []string{p.certificates(), p.data()} {
		if err := os.Mkdir(name, 0o700); err != nil {
			return nil, fmt.Errorf("make a directory for the control plane: %w", err)
		}
	}
	var err error
	p.ControlPlane, err = controlplane.Start(func(e *envtest.Environment) {
		e.ControlPlane.GetAPIServer().CertDir = p.certificates()
		e.ControlPlane.Etcd.DataDir = p.data()
	})

	return p, err
}

func (p *plane) certificates() string { return filepath.Join(p.dir, "certificates") }
func (p *plane) data() string         { return filepath.Join(p.dir, "etcd") }

// startAPIServer returns once /readyz says 200.
func (p *plane) startAPIServer(t *testing.T) {
	t.Helper()
	if err := p.Environment.ControlPlane.APIServer.Start(); err != nil {
		t.Fatal(err)
	}
	p.awaitReadyz(t)
}

// awaitReadyz waits until the API server says that it is ready.
func (p *plane) awaitReadyz(t *testing.T) {
	t.Helper()
	config := rest.CopyConfig(p.Config)
	asking, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer asking.CloseIdleConnections()
	await(t, "the API server's /readyz", func() (string, bool) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		status, text, err := get(ctx, asking, strings.TrimSuffix(config.Host, "/")+"/readyz")

		return fmt.Sprint(status, text, err), status == http.StatusOK
	})
}

func (p *plane) startEtcd(t *testing.T) {
	t.Helper()
	if err := p.Environment.ControlPlane.Etcd.Start(); err != nil {
		t.Fatal(err)
	}
}

// restoreData puts a copy in the place of etcd's data. Etcd must not run.
func (p *plane) restoreData(t *testing.T, copied string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(p.data()), os.CopyFS(p.data(), os.DirFS(copied))); err != nil {
		t.Fatal(err)
	}
}
