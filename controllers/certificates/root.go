package certificates

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// backdated is how long before its making a certificate begins to be valid, for
	// peers whose clocks are behind.
	backdated = 5 * time.Minute
	// signsFrom is the header of a root's PEM block that says from when on it signs.
	signsFrom = "Signs-From"

	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
)

// root is one certificate authority of ours.
type root struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	// signsFrom is from when on it signs; zero: not before clients have been told of it.
	signsFrom time.Time
}

// newRoot makes a root that is valid for so long.
func newRoot(now time.Time, lifetime time.Duration) (*root, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of a certificate authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "nagi managers, " + now.UTC().Format(time.RFC3339)},
		NotBefore:             now.Add(-backdated),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read a certificate authority: %w", err)
	}

	return &root{certificate: certificate, key: key}, nil
}

// serial is a number that no other certificate has.
func serial() *big.Int {
	bytes := make([]byte, 16)
	_, _ = rand.Read(bytes) // Never fails.
	bytes[0] &= 0x7f        // RFC 5280, 4.1.2.2: positive.

	return new(big.Int).SetBytes(bytes)
}

// made is when the root was made.
func (r *root) made() time.Time { return r.certificate.NotBefore.Add(backdated) }

func (r *root) same(other *root) bool { return bytes.Equal(r.certificate.Raw, other.certificate.Raw) }

// encode writes roots, with their keys, as PEM.
func (rs roots) encode() ([]byte, error) {
	var text bytes.Buffer
	for _, r := range rs {
		block := &pem.Block{Type: certificateBlock, Bytes: r.certificate.Raw}
		if !r.signsFrom.IsZero() {
			block.Headers = map[string]string{signsFrom: r.signsFrom.UTC().Format(time.RFC3339Nano)}
		}
		key, err := x509.MarshalPKCS8PrivateKey(r.key)
		if err != nil {
			return nil, fmt.Errorf("encode the key of a certificate authority: %w", err)
		}
		if err := errors.Join(pem.Encode(&text, block),
			pem.Encode(&text, &pem.Block{Type: keyBlock, Bytes: key})); err != nil {
			return nil, fmt.Errorf("encode a certificate authority: %w", err)
		}
	}

	return text.Bytes(), nil
}

// decode is the reverse of encode.
func decode(text []byte) (roots, error) {
	var rs roots
	for {
		certificate, rest := pem.Decode(text)
		if certificate == nil {
			break
		}
		key, rest := pem.Decode(rest)
		if key == nil || certificate.Type != certificateBlock || key.Type != keyBlock {
			return nil, errors.New("a certificate is not followed by its key")
		}
		r, err := decodeRoot(certificate, key)
		if err != nil {
			return nil, err
		}
		rs, text = append(rs, r), rest
	}
	if len(rs) == 0 {
		return nil, errors.New("there is no certificate in it")
	}

	return rs, nil
}

func decodeRoot(block, keyBlock *pem.Block) (*root, error) {
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(certificate.PublicKey) {
		return nil, errors.New("a key is not that of its certificate")
	}
	r := &root{certificate: certificate, key: key}
	if from := block.Headers[signsFrom]; from != "" {
		if r.signsFrom, err = time.Parse(time.RFC3339Nano, from); err != nil {
			return nil, fmt.Errorf("read from when on a certificate authority signs: %w", err)
		}
	}

	return r, nil
}
