//go:build linux && cluster

package cluster

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// overlay is one of the user's: a component, and what the test has set since the installation.
const overlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../default]
components: [../components/COMPONENT]
replicas: [{name: nagi-mediaserver, count: 3}]
patches:
  - patch: |-
      apiVersion: apps/v1
      kind: StatefulSet
      metadata: {name: nagi-mediaserver, namespace: meetings}
      spec:
        template:
          spec:
            containers:
              - name: mediaserver
                env: [{name: DRAIN_TIMEOUT, value: 1s}]
`

// addComponent adds a component to what is installed, by an overlay as docs/install.md says.
func (r *reader) addComponent(t *testing.T, name string) {
	t.Helper()
	dir := filepath.Join(r.dir, "config/with-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(overlay, "COMPONENT", name)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.does(t, "kubectl apply -k config/with-"+name)
}

// startBeside runs a program of somebody else's beside the control plane until the test ends. What it writes is with
// the cluster's logs.
func startBeside(t *testing.T, program string, arguments ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(directory, "log", filepath.Base(t.Name())+"-"+program))
	if err != nil {
		t.Fatal(err)
	}
	running := exec.CommandContext(context.WithoutCancel(t.Context()), program, arguments...)
	running.Stdout, running.Stderr = log, log
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = running.Process.Kill()
		_ = errors.Join(running.Wait(), log.Close())
	})
}
