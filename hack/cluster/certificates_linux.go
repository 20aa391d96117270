package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs all certificates of the cluster.
type authority struct {
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

// newAuthority makes an authority that writes into dir: ca.crt, and NAME.crt and NAME.key of each that it signs.
func newAuthority(dir string) (*authority, error) {
	a := &authority{dir: dir}
	template := a.template("nagi-cluster")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	if a.certificate, err = x509.ParseCertificate(signed); err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}

	return a, errors.Join(a.write("ca.crt", "CERTIFICATE", signed), a.writeKey("ca", a.key))
}

func (a *authority) template(name string, groups ...string) *x509.Certificate {
	a.serial++

	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial),
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().AddDate(0, 0, 30),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

// sign makes the key and the certificate of a user who is in groups, or of a server at hosts.
func (a *authority) sign(file, user string, groups, hosts []string) error {
	template := a.template(user, groups...)
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("sign the certificate of %s: %w", user, err)
	}

	return errors.Join(a.write(file+".crt", "CERTIFICATE", signed), a.writeKey(file, key))
}

// keyPair makes the keys of service accounts' tokens.
func (a *authority) keyPair(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}

	return errors.Join(a.write(file+".pub", "PUBLIC KEY", public), a.writeKey(file, key))
}

func (a *authority) writeKey(file string, key *ecdsa.PrivateKey) error {
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}

	return a.write(file+".key", "EC PRIVATE KEY", encoded)
}

func (a *authority) write(file, kind string, content []byte) error {
	encoded := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})

	return os.WriteFile(filepath.Join(a.dir, file), encoded, 0o600)
}

// kubeconfig signs a user's certificate and writes FILE.kubeconfig, by which its programs reach the API server.
func (a *authority) kubeconfig(file, user string, groups ...string) error {
	if err := a.sign(file, user, groups, nil); err != nil {
		return err
	}
	path := filepath.Join(a.dir, file)
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: cluster
contexts: [{name: cluster, context: {cluster: cluster, user: %[1]q}}]
clusters: [{name: cluster, cluster: {server: "https://%[2]s:6443", certificate-authority: %[3]q}}]
users: [{name: %[1]q, user: {client-certificate: %[4]q, client-key: %[5]q}}]
`, user, controlPlaneAddress, filepath.Join(a.dir, "ca.crt"), path+".crt", path+".key")

	return os.WriteFile(path+".kubeconfig", []byte(text), 0o600)
}
