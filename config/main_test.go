// Package config tests what is installed: each overlay is applied to a real
// kube-apiserver with kubectl, as its users do, and deleted again.
package config

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

// plane and clients are what all tests share. Set by TestMain, and not changed after.
var (
	plane   *controlplane.ControlPlane
	clients *kubernetes.Clientset
)

// overlay is something that is installed.
type overlay struct {
	// folders are applied one after another, relative to this package.
	folders []string
	// components are added to the last folder, as an overlay of a user's does.
	components []string
}

// overlays are all that we ship, and each component on top of the default.
func overlays(t *testing.T) map[string]overlay {
	t.Helper()
	all := map[string]overlay{
		"default":     {folders: []string{"default"}},
		"single-node": {folders: []string{"single-node"}},
		"namespaced":  {folders: []string{"namespaced/cluster", "namespaced"}},
		// What docs/install.md tells whoever has more than one tenant.
		"two-tenants": {folders: []string{"testdata/two-tenants"}},
	}
	components, err := os.ReadDir("components")
	if err != nil {
		t.Fatal(err)
	}
	for _, component := range components {
		all[component.Name()] = overlay{folders: []string{"default"}, components: []string{component.Name()}}
	}

	return all
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	// envtest would else complain of having nowhere to log to.
	ctrl.SetLogger(logr.Discard())
	failed := func(err error) int {
		fmt.Fprintln(os.Stderr, "config:", err)

		return 1
	}
	var err error
	// The CRD is part of what the tests install.
	if plane, err = controlplane.Start(func(e *envtest.Environment) { e.CRDs = nil }); err != nil {
		return failed(err)
	}
	defer func() {
		if err := plane.Stop(); err != nil {
			code = failed(err)
		}
		if err := goleak.Find(); err != nil {
			code = failed(err)
		}
	}()
	if clients, err = kubernetes.NewForConfig(plane.Config); err != nil {
		return failed(err)
	}

	return m.Run()
}

// kubectl runs kubectl as an administrator and returns what it wrote to either side.
func kubectl(t *testing.T, arguments ...string) (output, complaints string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	// What it remembers of API servers is not left in the user's folder.
	global := []string{"--kubeconfig", plane.Kubeconfig, "--cache-dir", t.TempDir()}
	command := exec.CommandContext(t.Context(), plane.Kubectl, append(global, arguments...)...)
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, stderr.String())
	}

	return stdout.String(), stderr.String()
}

// render writes each folder of the overlay, made whole by kubectl, into a file.
func (o overlay) render(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	paths := make([]string, 0, len(o.folders))
	for i, folder := range o.folders {
		if i == len(o.folders)-1 && len(o.components) > 0 {
			folder = withComponents(t, folder, o.components)
		}
		text, complaints := kubectl(t, "kustomize", folder)
		if complaints != "" {
			t.Errorf("kubectl kustomize %s says: %s", folder, complaints)
		}
		path := filepath.Join(dir, fmt.Sprintf("%d.yaml", i))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}

	return paths
}

// withComponents makes an overlay of a folder and components, and returns its folder.
func withComponents(t *testing.T, folder string, components []string) string {
	t.Helper()
	dir := t.TempDir()
	relative := func(path string) string {
		absolute, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		resolved, err := filepath.EvalSymlinks(dir)
		if err != nil {
			t.Fatal(err)
		}
		path, err = filepath.Rel(resolved, absolute)
		if err != nil {
			t.Fatal(err)
		}

		return path
	}
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + relative(folder) +
		"]\ncomponents:\n"
	for _, component := range components {
		text += "  - " + relative(filepath.Join("components", component)) + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	return dir
}
