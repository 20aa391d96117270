package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mount writes a certificate, and by what it can be checked, as cert-manager's Secrets
// are mounted.
func mount(t *testing.T, dir string, r *root) {
	t.Helper()
	serving, err := r.serve(time.Now(), time.Hour, names)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(serving.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	secret := pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: key})
	for name, content := range map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: serving.Certificate[0]}),
		"tls.key": secret,
		// A key that should not be there must go no further.
		"ca.crt": append([]byte(roots{r}.bundle()), secret...),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMountedFilesTakeThePlaceOfTheOwnAuthority(t *testing.T) {
	own, tenant, dir := newNamespace(t), newNamespace(t), t.TempDir()
	if _, err := New(Config{REST: plane.Config, Namespace: own, Dir: dir}); err == nil ||
		!strings.Contains(err.Error(), "--tls-cert-dir: read tls.crt") {
		t.Errorf("an empty directory: %v", err)
	}
	replace := func() *root {
		r, err := newRoot(time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		mount(t, dir, r)

		return r
	}
	first := replace()
	k := keep(t, Config{Namespace: own, Namespaces: []string{tenant}, Dir: dir})
	until(t, "it is served and told", func() bool {
		return bundleIn(t, tenant) == roots{first}.bundle() && trusted(t, k, tenant)
	})
	second := replace()
	until(t, "what took its place is served and told", func() bool {
		return bundleIn(t, tenant) == roots{second}.bundle() && trusted(t, k, tenant)
	})

	if err := os.WriteFile(filepath.Join(dir, "tls.key"), []byte("half of a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "it tells what is wrong", func() bool {
		return k.Failing() != nil && strings.Contains(k.Failing().Error(), "tls.key")
	})
	if k.Ready() != nil || !trusted(t, k, tenant) {
		t.Error("what there was does not go on")
	}
	if _, err := core.Secrets(own).Get(t.Context(), Object, metav1.GetOptions{}); err == nil {
		t.Error("there is an authority of our own beside it")
	}
}
