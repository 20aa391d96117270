package certificates

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mounted reads a directory as cert-manager's Secrets are mounted: tls.crt and tls.key,
// and ca.crt, by which clients check them.
func mounted(dir string) (serving *tls.Certificate, bundle string, err error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return nil, "",
			fmt.Errorf("read tls.crt and tls.key of %s: %w; mount a Secret of the type kubernetes.io/tls there", dir, err)
	}
	content, err := os.ReadFile(filepath.Join(dir, bundleKey))
	if err != nil {
		return nil, "", fmt.Errorf(
			"read by what clients check the certificate: %w; the Secret needs ca.crt beside tls.crt and tls.key", err,
		)
	}
	// Whatever else is in the file is for nobody else to see.
	if bundle = certificatesOf(content); bundle == "" {
		return nil, "",
			fmt.Errorf("%s has no certificate in it: put those there that clients are to trust", filepath.Join(dir, bundleKey))
	}

	return &pair, bundle, nil
}

// certificatesOf are the certificates of a PEM file.
func certificatesOf(content []byte) string {
	var text strings.Builder
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == certificateBlock {
			_ = pem.Encode(&text, &pem.Block{Type: block.Type, Bytes: block.Bytes}) // A builder takes everything.
		}
	}

	return text.String()
}
