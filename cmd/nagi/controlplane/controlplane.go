// Package controlplane runs a real etcd and kube-apiserver on loopback, with the
// RtpStreamPause CRD installed, for the one-machine system and for tests. It needs
// neither a network nor the source tree.
package controlplane

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/nagi-rtc/nagi/config/crd"
	"github.com/nagi-rtc/nagi/internal/ports"
)

const (
	// startTimeout bounds the start of etcd and that of kube-apiserver; on a busy
	// machine the latter has been seen to take 20 seconds.
	startTimeout = 45 * time.Second
	// startTimeoutVariable is envtest's own setting, which wins.
	startTimeoutVariable = "KUBEBUILDER_CONTROLPLANE_START_TIMEOUT"
)

// ControlPlane is a running etcd and kube-apiserver.
type ControlPlane struct {
	// Config holds the credentials of a cluster administrator.
	Config *rest.Config
	// Kubeconfig is the path of a file with the same credentials.
	Kubeconfig string
	// Kubectl is the path of a kubectl of the server's version.
	Kubectl string
	// Environment is what runs them, for tests that need more of it.
	Environment *envtest.Environment

	dir  string
	held []*ports.Held
}

// Start starts etcd and kube-apiserver on free loopback ports and installs the
// CRD. Assets says where it looks for the binaries. Options change the environment
// before it starts. An error quotes the last lines that either program wrote.
func Start(options ...func(*envtest.Environment)) (*ControlPlane, error) {
	assets, err := Assets()
	if err != nil {
		return nil, err
	}
	pauses := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(crd.RtpStreamPauses, pauses); err != nil {
		return nil, fmt.Errorf("decoding the CRD of RtpStreamPause: %w", err)
	}

	environment := &envtest.Environment{
		BinaryAssetsDirectory: assets,
		CRDs:                  []*apiextensionsv1.CustomResourceDefinition{pauses},
	}
	if os.Getenv(startTimeoutVariable) == "" {
		environment.ControlPlaneStartTimeout = startTimeout
	}
	stayOnLoopback(environment)
	c := &ControlPlane{Environment: environment, Kubectl: filepath.Join(assets, "kubectl")}
	if err := c.choosePorts(); err != nil {
		return nil, errors.Join(err, c.letGo())
	}
	for _, option := range options {
		option(environment)
	}
	logs := listen(environment)
	if c.Config, err = environment.Start(); err != nil {
		quoted := logs.about(err)
		err = errors.Join(err, c.Stop())

		return nil, fmt.Errorf("starting etcd and kube-apiserver from %s: %w%s", assets, err, quoted)
	}
	if err := c.writeKubeconfig(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}

	return c, nil
}

// stayOnLoopback lets kube-apiserver start on a machine without a network. Bound to
// loopback, it would advertise the address of the interface with the default route,
// and ends where there is none. Loopback is no valid endpoint of the kubernetes
// Service, which nobody here uses, so that one is left without endpoints.
func stayOnLoopback(environment *envtest.Environment) {
	environment.ControlPlane.GetAPIServer().Configure().
		Set("advertise-address", "127.0.0.1").
		Set("endpoint-reconciler-type", "none")
}

// choosePorts of both, and hold them: envtest's own are anybody's until a program listens,
// and again while it is started anew.
func (c *ControlPlane) choosePorts() error {
	etcd, err := c.hold()
	if err != nil {
		return err
	}
	apiServer, err := c.hold()
	if err != nil {
		return err
	}
	programs := &c.Environment.ControlPlane
	programs.GetAPIServer().ListenAddr = envtest.ListenAddr{
		Address: apiServer.IP.String(), Port: strconv.Itoa(apiServer.Port),
	}
	programs.Etcd = &envtest.Etcd{URL: &url.URL{Scheme: "http", Host: etcd.String()}}
	// There are no peers.
	programs.Etcd.Configure().Set("listen-peer-urls", "http://127.0.0.1:0")

	return nil
}

func (c *ControlPlane) hold() (*net.TCPAddr, error) {
	held, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("look for a free port of loopback: %w", err)
	}
	c.held = append(c.held, held)

	return held.Address(), nil
}

// Stop stops both and removes what they wrote. Close every watch first: the API
// server waits for them.
func (c *ControlPlane) Stop() error {
	err := c.Environment.Stop()
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}

	return errors.Join(err, c.letGo())
}

func (c *ControlPlane) letGo() error {
	var problems []error
	for _, held := range c.held {
		problems = append(problems, held.Close())
	}

	return errors.Join(problems...)
}

func (c *ControlPlane) writeKubeconfig() error {
	var err error
	if c.dir, err = os.MkdirTemp("", "nagi-kubeconfig-"); err != nil {
		return fmt.Errorf("making a directory for the kubeconfig: %w", err)
	}

	c.Kubeconfig = filepath.Join(c.dir, "kubeconfig")
	if err := os.WriteFile(c.Kubeconfig, c.Environment.KubeConfig, 0o600); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}

	return nil
}
