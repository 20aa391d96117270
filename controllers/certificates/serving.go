package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"time"
)

// Names are whom a serving certificate is for.
type Names struct {
	DNS       []string
	Addresses []net.IP
}

// serve signs a serving certificate whose key never leaves this process.
func (r *root) serve(now time.Time, lifetime time.Duration, names Names) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of a serving certificate: %w", err)
	}
	until := now.Add(lifetime)
	if r.certificate.NotAfter.Before(until) {
		until = r.certificate.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "nagi manager"},
		DNSNames:     names.DNS,
		IPAddresses:  names.Addresses,
		NotBefore:    now.Add(-backdated),
		NotAfter:     until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, r.certificate, key.Public(), r.key)
	if err != nil {
		return nil, fmt.Errorf("sign a serving certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read a serving certificate: %w", err)
	}

	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// outlived tells that a serving certificate is to be replaced: half of its time is
// over, or another root signs now.
func outlived(certificate *tls.Certificate, signer *root, now time.Time) bool {
	if certificate == nil || certificate.Leaf.CheckSignatureFrom(signer.certificate) != nil {
		return true
	}
	from, until := certificate.Leaf.NotBefore.Add(backdated), certificate.Leaf.NotAfter

	return now.After(from.Add(until.Sub(from) / 2))
}
