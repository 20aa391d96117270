package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What `make build-installer` writes is the overlay, with the images by the names that
// it was given, which `make images` gives them too.
func TestInstaller(t *testing.T) {
	written, err := os.ReadFile(installer(t, "v1.2"))
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

// installer is the file that `make build-installer` writes for images of a tag.
func installer(t *testing.T, tag string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "install.yaml")
	command := exec.CommandContext(t.Context(), "../hack/manifests/installer.sh", "default", "registry.example/a/b",
		tag, path)
	command.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+filepath.Dir(plane.Kubectl))
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}

	return path
}

// An upgrade is the new manifests applied as the old ones were: what changes are the programs
// alone, pauses stay, and removing the new removes all.
func TestUpgrade(t *testing.T) {
	before := objects(t)
	apply(t, []string{installer(t, "v1")})
	kubectl(t, "apply", "--server-side", "--namespace=meetings", "-k", "samples")
	old := objects(t)
	path := installer(t, "v2")
	apply(t, []string{path})
	changed := difference(old, objects(t))
	want := []string{
		"deployments nagi-system/nagi-manager", "deployments nagi-system/nagi-shim", "statefulsets meetings/nagi-mediaserver",
	}
	if !slices.Equal(changed, want) {
		t.Errorf("an upgrade changes %v, want %v", changed, want)
	}
	kubectl(t, "delete", "--wait=false", "-f", path)
	awaitNothingLeft(t, before)
}
