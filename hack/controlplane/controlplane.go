// Package controlplane runs a real etcd and kube-apiserver on loopback, with the
// RtpStreamPause CRD installed, for tests and for the one-machine system.
package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
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

	dir string
}

// Start starts etcd and kube-apiserver on free loopback ports and installs the
// CRD. It takes the binaries from the directory KUBEBUILDER_ASSETS, else from
// where assets.sh leaves them. Options change the environment before it starts.
func Start(options ...func(*envtest.Environment)) (*ControlPlane, error) {
	assets, err := assetsDirectory()
	if err != nil {
		return nil, err
	}

	environment := &envtest.Environment{
		BinaryAssetsDirectory: assets,
		CRDDirectoryPaths:     []string{filepath.Join(repositoryRoot(), "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	for _, option := range options {
		option(environment)
	}

	config, err := environment.Start()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting etcd and kube-apiserver from %s: %w", assets, err), environment.Stop())
	}

	c := &ControlPlane{Config: config, Environment: environment, Kubectl: filepath.Join(assets, "kubectl")}
	if err := c.writeKubeconfig(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}

	return c, nil
}

// Stop stops both and removes what they wrote. Close every watch first: the API
// server waits for them.
func (c *ControlPlane) Stop() error {
	err := c.Environment.Stop()
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}

	return err
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

// assetsDirectory is where the binaries are, without building any.
func assetsDirectory() (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir, nil
	}

	found, err := filepath.Glob(filepath.Join(repositoryRoot(), "bin", "k8s", "*", "kubectl"))
	if err != nil || len(found) == 0 {
		return "", errors.New("no kube-apiserver and etcd here: run `make controlplane`, or set KUBEBUILDER_ASSETS to a directory that holds both")
	}

	return filepath.Dir(found[len(found)-1]), nil
}

// repositoryRoot is where this file was compiled from; the CRD and the binaries
// lie at fixed places below it.
func repositoryRoot() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "."
	}

	return filepath.Join(filepath.Dir(file), "..", "..")
}
