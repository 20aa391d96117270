package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// Where the system has no roots, as in an image from scratch, the program has its own: an auth
// webhook is known by them.
func TestRootsWhereTheSystemHasNone(t *testing.T) {
	const inside = "NAGI_TEST_WITHOUT_ROOTS"
	if os.Getenv(inside) == "" {
		binary, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), binary, "-test.run=^"+t.Name()+"$")
		command.Env = append(os.Environ(), inside+"=1", "SSL_CERT_FILE=/nonexistent", "SSL_CERT_DIR=/nonexistent")
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}

		return
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	if roots.Equal(x509.NewCertPool()) {
		t.Error("there is no root")
	}
}
