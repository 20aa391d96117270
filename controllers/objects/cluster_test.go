package objects

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/internal/ports"
)

const token = "administrator"

// cluster is a real etcd and kube-apiserver, each a process that can be killed and
// started again on the same data and the same ports.
type cluster struct {
	assets, dir string
	etcd, api   *process
	etcdArgs    []string
	apiArgs     []string
	config      *rest.Config

	etcdAddress, address *ports.Held
}

// host is the API server's URL.
func (c *cluster) host() string { return "https://" + c.address.Address().String() }

type process struct {
	*exec.Cmd
	output bytes.Buffer
	exited chan struct{}
}

func launch(path string, args ...string) (*process, error) {
	p := &process{Cmd: exec.Command(path, args...), exited: make(chan struct{})}
	p.Stdout, p.Stderr = &p.output, &p.output
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go func() {
		defer close(p.exited)
		_ = p.Wait()
	}()

	return p, nil
}

func (p *process) kill() {
	if p != nil {
		_ = p.Process.Kill()
		<-p.exited
	}
}

// awaitOK waits until the URL answers 200 or the process has exited.
func (p *process) awaitOK(client *http.Client, url string) error {
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		request, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("ask %s: %w", url, err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		if response, err := client.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s has exited:\n%s", p.Path, &p.output)
		case <-time.After(10 * time.Millisecond):
		}
	}

	return fmt.Errorf("%s does not answer 200", url)
}

func newCluster() (*cluster, error) {
	c := &cluster{}
	var err error
	if c.assets, err = assets(); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "nagi-objects-"); err != nil {
		return nil, fmt.Errorf("make a directory for etcd: %w", err)
	}
	key := filepath.Join(c.dir, "accounts.key")
	tokens := filepath.Join(c.dir, "tokens.csv")
	if err := errors.Join(writeKey(key),
		os.WriteFile(tokens, []byte(token+",administrator,1,system:masters\n"), 0o600)); err != nil {
		return nil, err
	}
	if c.etcdAddress, err = ports.Hold("127.0.0.1:0"); err != nil {
		return nil, err
	}
	if c.address, err = ports.Hold("127.0.0.1:0"); err != nil {
		return nil, err
	}
	etcdURL := "http://" + c.etcdAddress.Address().String()
	c.etcdArgs = []string{
		"--data-dir=" + c.data(), "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=http://127.0.0.1:0",
	}
	c.apiArgs = []string{
		"--etcd-servers=" + etcdURL, "--cert-dir=" + filepath.Join(c.dir, "certificates"),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--secure-port=" + strconv.Itoa(c.address.Address().Port),
		"--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount",
		"--service-account-issuer=" + c.host(), "--service-account-key-file=" + key,
		"--service-account-signing-key-file=" + key,
		"--token-auth-file=" + tokens, "--authorization-mode=RBAC",
	}
	c.config = &rest.Config{
		Host: c.host(), BearerToken: token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	}
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.remove())
	}
	if _, err := envtest.InstallCRDs(c.config, envtest.CRDInstallOptions{Paths: []string{crdPath}}); err != nil {
		return nil, errors.Join(fmt.Errorf("install the CRD: %w", err), c.remove())
	}

	return c, nil
}

const crdPath = "../../config/crd/bases/rtp.nagi.dev_rtpstreampauses.yaml"

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *cluster) start() error {
	return errors.Join(c.startEtcd(), c.startAPIServer())
}

func (c *cluster) startEtcd() error {
	var err error
	if c.etcd, err = launch(filepath.Join(c.assets, "etcd"), c.etcdArgs...); err != nil {
		return err
	}

	return nil
}

// startAPIServer returns once /readyz is 200.
func (c *cluster) startAPIServer() error {
	var err error
	if c.api, err = launch(filepath.Join(c.assets, "kube-apiserver"), c.apiArgs...); err != nil {
		return err
	}
	transport, err := rest.TransportFor(c.config)
	if err != nil {
		return fmt.Errorf("reach the API server: %w", err)
	}

	return c.api.awaitOK(&http.Client{Transport: transport, Timeout: time.Second}, c.config.Host+"/readyz")
}

func (c *cluster) stop() {
	c.api.kill()
	c.etcd.kill()
}

func (c *cluster) remove() error {
	c.stop()

	return errors.Join(os.RemoveAll(c.dir), c.etcdAddress.Close(), c.address.Close())
}

// backUp copies etcd's data; both processes stand still meanwhile.
func (c *cluster) backUp(to string) error {
	c.stop()

	return errors.Join(os.CopyFS(to, os.DirFS(c.data())), c.start())
}

// restore puts a copy of etcd's data back.
func (c *cluster) restore(from string) error {
	c.stop()

	return errors.Join(os.RemoveAll(c.data()), os.CopyFS(c.data(), os.DirFS(from)), os.Chmod(c.data(), 0o700), c.start())
}

func assets() (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir, nil
	}
	found, err := filepath.Glob("../../bin/k8s/*/kube-apiserver")
	if err != nil || len(found) == 0 {
		return "", errors.New("no kube-apiserver and etcd here: run `make controlplane`, or set KUBEBUILDER_ASSETS to a " +
			"directory that holds both")
	}

	return filepath.Dir(found[len(found)-1]), nil
}

func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("write a key: %w", err)
	}

	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}
