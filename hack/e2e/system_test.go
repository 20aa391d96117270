package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/child"
	"github.com/nagi-rtc/nagi/hack/controlplane"
)

const (
	// patience bounds every wait for a condition; none is expected to come near.
	patience = 30 * time.Second
	// namespace is the tenant of all tests.
	namespace = "default"
	// corsOrigin is the one origin that the shim lets pages call from.
	corsOrigin = "http://127.0.0.1:5000"
)

// system is one of each program.
type system struct {
	dir      string // Of the programs and their logs.
	plane    *controlplane.ControlPlane
	children []*child.Child
	logs     []io.Closer

	shimURL, signalingURL string

	http    *http.Client // Of api.
	api     client.WithWatch
	manager *grpc.ClientConn
	view    forwardingv1.ViewClient
}

func startSystem(dir string) (_ *system, err error) {
	s := &system{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	if s.plane, err = controlplane.Start(); err != nil {
		return nil, err
	}
	if err := s.connectAPI(); err != nil {
		return nil, err
	}
	return s, s.startPrograms(ctx)
}

func (s *system) connectAPI() error {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("register the API types: %w", err)
	}
	config := rest.CopyConfig(s.plane.Config)
	config.QPS = -1
	var err error
	if s.http, err = rest.HTTPClientFor(config); err != nil {
		return fmt.Errorf("make an HTTP client: %w", err)
	}
	if s.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme, HTTPClient: s.http}); err != nil {
		return fmt.Errorf("make an API client: %w", err)
	}
	return nil
}

func (s *system) startPrograms(ctx context.Context) error {
	manager, err := s.startProgram(ctx, "manager", "--kubeconfig="+s.plane.Kubeconfig)
	if err != nil {
		return err
	}
	managerAddress, err := manager.Address(ctx, "grpc")
	if err != nil {
		return err
	}
	shim, err := s.startProgram(ctx, "shim", "--kubeconfig="+s.plane.Kubeconfig, "--managers="+managerAddress, "--cors-origin="+corsOrigin)
	if err != nil {
		return err
	}
	shimAddress, err := shim.Address(ctx, "http")
	if err != nil {
		return err
	}
	mediaServer, err := s.startProgram(ctx, "mediaserver", "--managers="+managerAddress, "--media-listen=127.0.0.1:0", "--shim-url=http://"+shimAddress)
	if err != nil {
		return err
	}
	signalingAddress, err := mediaServer.Address(ctx, "signaling")
	if err != nil {
		return err
	}
	s.shimURL, s.signalingURL = "http://"+shimAddress+"/", "ws://"+signalingAddress+"/signaling"

	s.manager, err = grpc.NewClient(managerAddress, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("make a client of the manager: %w", err)
	}
	s.view = forwardingv1.NewViewClient(s.manager)
	return nil
}

// startProgram starts a program on free ports and waits until it is ready.
func (s *system) startProgram(ctx context.Context, name string, args ...string) (*child.Child, error) {
	log, err := os.Create(s.logOf(name))
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", name, err)
	}
	s.logs = append(s.logs, log)
	c, err := child.Start(child.Spec{
		Name: name, Path: filepath.Join(s.dir, name), Output: log,
		Args: append(args, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"),
	})
	if err != nil {
		return nil, err
	}
	s.children = append(s.children, c)
	return c, c.Ready(ctx)
}

func (s *system) logOf(name string) string { return filepath.Join(s.dir, name+".log") }

// stop ends the programs in the reverse order of their start, then the API
// server. A data race that the programs' race detector saw is an error.
func (s *system) stop() error {
	var problems []error
	for i := len(s.children) - 1; i >= 0; i-- {
		c := s.children[i]
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		problems = append(problems, c.Stop(ctx))
		cancel()
		log, err := os.ReadFile(s.logOf(c.Name()))
		problems = append(problems, err)
		if at := bytes.Index(log, []byte("WARNING: DATA RACE")); at >= 0 {
			problems = append(problems, fmt.Errorf("%s: %s", c.Name(), log[at:min(len(log), at+4000)]))
		}
	}
	for _, log := range s.logs {
		problems = append(problems, log.Close())
	}
	if s.manager != nil {
		problems = append(problems, s.manager.Close())
	}
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
	http.DefaultClient.CloseIdleConnections()
	if s.plane != nil {
		problems = append(problems, s.plane.Stop())
	}
	return errors.Join(problems...)
}
