package controlplane

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAssetsAreFoundAboveTheWorkingDirectory(t *testing.T) {
	root := t.TempDir()
	// 1.9 sorts after 1.37 as a string, and what a stopped build left is no assets.
	for _, version := range []string{"1.9.0", "1.37.2"} {
		program(t, root, "bin", "k8s", version, "etcd")
		program(t, root, "bin", "k8s", version, "kube-apiserver")
		program(t, root, "bin", "k8s", version, "kubectl")
	}
	program(t, root, "bin", "k8s", "1.38.0", "etcd")
	below := filepath.Join(root, "controllers", "serve")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(below)
	t.Setenv(assetsVariable, "")

	got, err := Assets()
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(root, "bin", "k8s", "1.37.2"); !sameFile(t, got, want) {
		t.Errorf("found %s, want %s", got, want)
	}
}

func TestMissingAssetsAreNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(assetsVariable, "")
	if got, err := Assets(); err == nil || !strings.Contains(err.Error(), "run `make controlplane`") {
		t.Errorf("got %q and %v, want what to do", got, err)
	}

	incomplete := t.TempDir()
	program(t, incomplete, "kubectl")
	t.Setenv(assetsVariable, incomplete)
	want := assetsVariable + "=" + incomplete + " lacks etcd and kube-apiserver"
	if got, err := Assets(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %q and %v, want it to say %q", got, err, want)
	}
}

func program(t *testing.T, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o700); err != nil {
		t.Fatal(err)
	}
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	first, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}

	return os.SameFile(first, second)
}
