package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// assetsVariable names the directory of the binaries, as it does for envtest.
const assetsVariable = "KUBEBUILDER_ASSETS"

// Assets is the directory that holds etcd, kube-apiserver and kubectl: what
// KUBEBUILDER_ASSETS names, else where hack/controlplane/assets.sh leaves them, below
// the bin folder that holds this program, or of the working directory or one above
// it. It builds and downloads nothing.
func Assets() (string, error) {
	if dir := os.Getenv(assetsVariable); dir != "" {
		if missing := missingFrom(dir); len(missing) > 0 {
			return "", fmt.Errorf("%s=%s lacks %s: point it at a directory that holds etcd, kube-apiserver and kubectl, "+
				"or unset it and run `make controlplane`",
				assetsVariable, dir, strings.Join(missing, " and "))
		}

		return dir, nil
	}

	var bins []string
	if executable, err := os.Executable(); err == nil {
		bins = append(bins, filepath.Dir(executable))
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			bins = append(bins, filepath.Join(dir, "bin"))
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	for _, bin := range bins {
		if dir := newestBelow(bin); dir != "" {
			return dir, nil
		}
	}

	return "", fmt.Errorf("no etcd, kube-apiserver and kubectl in k8s/VERSION below %s: run `make controlplane`, "+
		"or set %s to a directory that holds them",
		strings.Join(bins, ", "), assetsVariable)
}

// newestBelow is the complete k8s/VERSION directory of the highest version, or "".
func newestBelow(bin string) string {
	found, err := filepath.Glob(filepath.Join(bin, "k8s", "*"))
	if err != nil {
		return ""
	}
	found = slices.DeleteFunc(found, func(dir string) bool {
		_, err := version.ParseGeneric(filepath.Base(dir))

		return err != nil || len(missingFrom(dir)) > 0
	})
	if len(found) == 0 {
		return ""
	}

	return slices.MaxFunc(found, func(a, b string) int {
		newer := version.MustParseGeneric(filepath.Base(b))
		switch older := version.MustParseGeneric(filepath.Base(a)); {
		case older.LessThan(newer):
			return -1
		case newer.LessThan(older):
			return 1
		}

		return 0
	})
}

func missingFrom(dir string) []string {
	var missing []string
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode()&0o111 == 0 {
			missing = append(missing, name)
		}
	}

	return missing
}
