package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What `make build-installer` writes is the overlay, with the images by the names that
// it was given, which `make images` gives them too.
func TestInstaller(t *testing.T) {
	path := filepath.Join(t.TempDir(), "install.yaml")
	command := exec.CommandContext(t.Context(), "../hack/manifests/installer.sh", "default", "registry.example/a/b",
		"v1.2", path)
	command.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+filepath.Dir(plane.Kubectl))
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := kubectl(t, "kustomize", "default")
	for _, program := range []string{"manager", "shim", "mediaserver"} {
		before := "image: localhost/nagi-" + program + ":dev\n"
		if strings.Count(want, before) != 1 {
			t.Errorf("the overlay does not name the image of %s once", program)
		}
		want = strings.Replace(want, before, "image: registry.example/a/b/nagi-"+program+":v1.2\n", 1)
	}
	if string(written) != want {
		t.Error("it is not the overlay with its images renamed")
	}
}
