package v1alpha1_test

import (
	"os/exec"
	"strings"
	"testing"
)

// What anybody's client imports stays light. The types need apimachinery alone. The
// apply configurations need structured-merge-diff (who owns which field) and client-go,
// whose metadata and conditions they build on and which brings its REST client and
// the built-in types: who applies has these anyway, and who does not does not import
// the package.
func TestImportsStayLight(t *testing.T) {
	const module = "github.com/nagi-rtc/nagi/"
	const types, applied = "api/v1alpha1", "api/v1alpha1/applyconfiguration/api/v1alpha1"
	for path, heavy := range map[string][]string{
		types: {"k8s.io/client-go/", "k8s.io/api/", "sigs.k8s.io/controller-runtime/", "google.golang.org/grpc/", module},
		applied: {"k8s.io/client-go/kubernetes/typed/", "k8s.io/client-go/informers/", "sigs.k8s.io/controller-runtime/",
			"google.golang.org/grpc/", module},
	} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+path).CombinedOutput()
		if err != nil {
			t.Fatalf("go list: %v\n%s", err, out)
		}
		for imported := range strings.Lines(string(out)) {
			for _, prefix := range heavy {
				if strings.HasPrefix(imported, prefix) && !strings.HasPrefix(imported, module+types) {
					t.Errorf("%s imports %s", path, imported)
				}
			}
		}
	}
}
