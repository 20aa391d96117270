package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const (
	// patience bounds every wait for a condition; none is expected to come near.
	patience = 60 * time.Second
	// namespace is the tenant of all tests.
	namespace = "default"
	// corsOrigin is the one origin that the shims let pages call from.
	corsOrigin = "http://127.0.0.1:5000"
)

// layout says what a system is made of.
type layout struct {
	managers, shims, mediaServers int
	// Arguments beside those that every program of a kind gets.
	managerArgs, shimArgs, mediaServerArgs []string
	// stepped is a directory of programs that buildStepped made, which are run in
	// place of the others; empty: none.
	stepped string
	// guarded managers serve TLS, and everybody who comes to them shows a token.
	guarded bool
	// managerUsers are who the managers are to the API server, one by one; empty:
	// administrators.
	managerUsers []string
	// prepare is called before any program starts. May be nil.
	prepare func(*system) error
}

// system is a control plane and programs, with relays between them.
type system struct {
	dir          string // Of everything that is written.
	layout       layout
	plane        *plane
	managers     []*manager
	shims        []*shim
	mediaServers []*mediaServer
	programs     []*program // All of them, in the order of their start.

	http *http.Client // Of api.
	api  client.WithWatch
}

// manager is a manager among relays: media servers and shims come to it through
// one each, and it comes to the API server through the third. The test asks it
// directly.
type manager struct {
	*program

	mediaServers, shims, api *relay

	conn *grpc.ClientConn
	view forwardingv1.ViewClient
}

type shim struct {
	*program

	api *relay
	url string
}

type mediaServer struct {
	*program

	name, signalingURL string
}

// startSystem starts what the layout says, below dir, and waits until all of it
// is ready. The caller calls stop in the end, unless there is an error.
func startSystem(dir string, l layout) (_ *system, err error) {
	s := &system{dir: dir, layout: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	if s.plane, err = startPlane(dir); err != nil {
		return nil, err
	}
	if err := s.connectAPI(); err != nil {
		return nil, err
	}

	return s, s.startPrograms(ctx)
}

// own starts a system for one test alone. What it wrote stays when the test fails.
func own(t *testing.T, l layout) *system {
	t.Helper()
	dir, err := os.MkdirTemp("", "nagi-e2e-own-")
	if err != nil {
		t.Fatal(err)
	}
	s, err := startSystem(dir, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the logs are kept in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})

	return s
}

func (s *system) connectAPI() error {
	scheme := runtime.NewScheme()
	err := errors.Join(
		v1alpha1.AddToScheme(scheme), coordinationv1.AddToScheme(scheme), corev1.AddToScheme(scheme),
		authenticationv1.AddToScheme(scheme), rbacv1.AddToScheme(scheme), eventsv1.AddToScheme(scheme),
	)
	if err != nil {
		return fmt.Errorf("register the API types: %w", err)
	}
	config := rest.CopyConfig(s.plane.Config)
	config.QPS = -1
	if s.http, err = rest.HTTPClientFor(config); err != nil {
		return fmt.Errorf("make an HTTP client: %w", err)
	}
	if s.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme, HTTPClient: s.http}); err != nil {
		return fmt.Errorf("make an API client: %w", err)
	}

	return nil
}

func (s *system) startPrograms(ctx context.Context) error {
	if s.layout.prepare != nil {
		if err := s.layout.prepare(s); err != nil {
			return err
		}
	}
	for i := range s.layout.managers {
		m, err := s.newManager(i)
		if err != nil {
			return err
		}
		s.managers = append(s.managers, m)
		if err := s.startManager(ctx, m); err != nil {
			return err
		}
	}
	if s.layout.guarded {
		if _, err := s.mount(ctx, namespace, watching, "shim/role.yaml"); err != nil {
			return err
		}
	}
	for range s.layout.shims {
		if _, err := s.addShim(ctx, "", append([]string{"--namespace=" + namespace}, s.layout.shimArgs...)...); err != nil {
			return err
		}
	}
	for i := range s.layout.mediaServers {
		m := s.newMediaServer(i)
		known, err := s.guardedArgs(ctx, m.name, "mediaserver/role.yaml")
		if err != nil {
			return err
		}
		m.args = append(m.args, known...)
		s.mediaServers = append(s.mediaServers, m)
		if err := s.startMediaServer(ctx, m); err != nil {
			return err
		}
	}
	for _, p := range s.programs {
		if err := p.Ready(ctx); err != nil {
			return err
		}
	}

	return nil
}

func (s *system) newManager(index int) (*manager, error) {
	m := &manager{program: s.newProgram("manager", fmt.Sprintf("manager-%d", index))}
	for _, way := range []**relay{&m.mediaServers, &m.shims} {
		r, err := newRelay()
		if err != nil {
			return nil, err
		}
		*way, m.relays = r, append(m.relays, r)
	}
	user := ""
	if index < len(s.layout.managerUsers) {
		user = s.layout.managerUsers[index]
	}
	api, kubeconfig, err := s.newWayToAPI(m.program, user)
	if err != nil {
		return nil, err
	}
	m.api = api
	m.args = append([]string{"--kubeconfig=" + kubeconfig, "--namespaces=" + namespace}, s.layout.managerArgs...)
	if s.layout.guarded {
		m.args = append(m.args, "--listen=0.0.0.0:0")
	}

	return m, nil
}

// startManager starts a manager, again if it has ended, and puts it behind its
// relays. It does not wait until it is ready.
func (s *system) startManager(ctx context.Context, m *manager) error {
	if err := m.start(); err != nil {
		return err
	}
	address, err := m.Address(ctx, "grpc")
	if err != nil {
		return err
	}
	known := managers.Credentials{}
	if s.layout.guarded {
		known = s.mounted(watching)
		if address, err = onLoopback(address); err != nil {
			return err
		}
	}
	m.mediaServers.to(address)
	m.shims.to(address)
	if m.conn != nil {
		if err := m.conn.Close(); err != nil {
			return fmt.Errorf("close the client of the manager: %w", err)
		}
	}
	if m.conn, err = grpc.NewClient(address, known.Options()...); err != nil {
		return fmt.Errorf("make a client of the manager: %w", err)
	}
	m.view = forwardingv1.NewViewClient(m.conn)

	return nil
}

// addShim starts a shim more. To the API server it is that user; empty: an
// administrator. It does not wait until it is ready.
func (s *system) addShim(ctx context.Context, user string, args ...string) (*shim, error) {
	p := &shim{program: s.newProgram("shim", fmt.Sprintf("shim-%d", len(s.shims)))}
	var err error
	var kubeconfig string
	if p.api, kubeconfig, err = s.newWayToAPI(p.program, user); err != nil {
		return nil, err
	}
	p.args = append([]string{"--kubeconfig=" + kubeconfig, "--cors-origin=" + corsOrigin}, args...)
	for _, m := range s.managers {
		p.args = append(p.args, "--managers="+m.shims.address())
	}
	known, err := s.guardedArgs(ctx, p.name, "shim/role.yaml")
	if err != nil {
		return nil, err
	}
	p.args = append(p.args, known...)
	s.shims = append(s.shims, p)

	return p, s.startShim(ctx, p)
}

// startShim starts a shim, again if it has ended. It does not wait until it is ready.
func (s *system) startShim(ctx context.Context, p *shim) error {
	if err := p.start(); err != nil {
		return err
	}
	address, err := p.Address(ctx, "http")
	if err != nil {
		return err
	}
	p.url = "http://" + address + "/"

	return nil
}

func (s *system) newMediaServer(index int) *mediaServer {
	name := fmt.Sprintf("mediaserver-%d", index)
	m := &mediaServer{program: s.newProgram("mediaserver", name), name: name}
	m.args = []string{
		"--name=" + name, "--namespace=" + namespace, "--media-listen=127.0.0.1:0", "--shim-url=" + s.shims[0].url,
	}
	for _, manager := range s.managers {
		m.args = append(m.args, "--managers="+manager.mediaServers.address())
	}
	m.args = append(m.args, s.layout.mediaServerArgs...)

	return m
}

// startMediaServer starts a media server, again if it has ended. It does not wait
// until it is ready.
func (s *system) startMediaServer(ctx context.Context, m *mediaServer) error {
	if err := m.start(); err != nil {
		return err
	}
	address, err := m.Address(ctx, "signaling")
	if err != nil {
		return err
	}
	m.signalingURL = "ws://" + address + "/signaling"

	return nil
}

// stop ends the programs in the reverse order of their start, then the control
// plane. A program that ended by itself is an error, and a data race that a
// program's race detector saw.
func (s *system) stop() error {
	var problems []error
	for i := len(s.programs) - 1; i >= 0; i-- {
		problems = append(problems, s.programs[i].stop())
	}
	for _, m := range s.managers {
		if m.conn != nil {
			problems = append(problems, m.conn.Close())
		}
	}
	for _, p := range s.programs {
		for _, r := range p.relays {
			problems = append(problems, r.close())
		}
	}
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
	http.DefaultClient.CloseIdleConnections()
	if s.plane != nil && s.plane.ControlPlane != nil {
		problems = append(problems, s.plane.Stop())
	}

	return errors.Join(problems...)
}

// raceIn returns what a program's race detector wrote into its log.
func raceIn(path string) error {
	log, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read what a program wrote: %w", err)
	}
	if at := bytes.Index(log, []byte("WARNING: DATA RACE")); at >= 0 {
		return fmt.Errorf("%s: %s", filepath.Base(path), log[at:min(len(log), at+4000)])
	}

	return nil
}
