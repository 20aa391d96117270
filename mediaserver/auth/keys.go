package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// lookAgain is how often the file of keys is looked at, when somebody needs a key.
	lookAgain = time.Second
	// maxKeysFile is how long it may be, in bytes.
	maxKeysFile = 1 << 20
	// minHMACKey is the shortest key of HS256, in bytes (RFC 7518 section 3.2).
	minHMACKey = 32
	// minRSAKey is the shortest key of RS256, in bits (RFC 7518 section 3.3).
	minRSAKey = 2048
)

// key is one that signatures are checked with, by one algorithm alone.
type key struct {
	id        string
	algorithm jose.SignatureAlgorithm
	value     any
}

// keyring holds the keys of a file, and reads them again when the file changes. While it
// cannot be read, the keys that were read last go on; when there are none in it any more,
// none does.
type keyring struct {
	path       string
	log        *slog.Logger
	unreadable prometheus.Gauge

	mu      sync.Mutex
	looked  time.Time
	text    []byte
	problem string // why text is not that of the file
	keys    []key
}

func openKeyring(path string, log *slog.Logger, registerer prometheus.Registerer) (*keyring, error) {
	k := &keyring{path: path, log: log, unreadable: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "nagi_auth_keys_unreadable",
		Help: "1 while the file of keys (--auth-jwks-file) cannot be read, and the keys that were read last go on.",
	})}
	if err := k.read(); err != nil {
		return nil, err
	}
	if len(k.keys) == 0 {
		return nil, fmt.Errorf("%s: no key is one for %v: give kty oct, RSA, or EC with crv P-256", path, algorithms)
	}
	k.looked = time.Now()
	registerer.MustRegister(k.unreadable)

	return k, nil
}

// matching are the keys of an algorithm, those with that id alone if it is not empty.
func (k *keyring) matching(algorithm jose.SignatureAlgorithm, id string) []any {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) >= lookAgain {
		k.looked = time.Now()
		k.readAgain()
	}
	var values []any
	for _, key := range k.keys {
		if key.algorithm == algorithm && (id == "" || id == key.id) {
			values = append(values, key.value)
		}
	}

	return values
}

// readAgain tells what is new: once that the file cannot be read, not at each attempt.
func (k *keyring) readAgain() {
	err := k.read()
	switch {
	case err == nil && k.problem != "":
		k.log.Info("the file of keys can be read again", "file", k.path)
		k.problem = ""
		k.unreadable.Set(0)
	case err != nil && k.problem != err.Error():
		k.log.Error("the file of keys cannot be read; the keys that were read last go on", "error", err)
		k.problem = err.Error()
		k.unreadable.Set(1)
	}
}

// read takes the file's keys, unless it is as it was.
func (k *keyring) read() error {
	text, err := readFile(k.path)
	if err != nil {
		return err
	}
	again := k.text != nil
	if again && bytes.Equal(text, k.text) {
		return nil
	}
	keys, err := parseKeys(text)
	if err != nil {
		return fmt.Errorf("%s: %w", k.path, err)
	}
	switch {
	case again && len(keys) == 0:
		k.log.Warn("the file of keys has none that serves: nobody is let in", "file", k.path, "algorithms", algorithms)
	case again:
		k.log.Info("the file of keys has changed", "file", k.path, "keys", len(keys))
	}
	k.text, k.keys = text, keys

	return nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w; give a file that the media server may read", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxKeysFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	if len(text) > maxKeysFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxKeysFile)
	}

	return text, nil
}

// parseKeys reads a JWK Set. Keys for other purposes and algorithms are left out (RFC
// 7517 section 5); one that should serve and cannot is an error. Errors hold no key.
func parseKeys(text []byte) ([]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(text, &set) != nil || set.Keys == nil {
		return nil, errors.New(`this is no JWK Set: write {"keys": [ … ]} (RFC 7517 section 5)`)
	}
	var keys []key
	for i, text := range set.Keys {
		var parsed jose.JSONWebKey
		switch err := parsed.UnmarshalJSON(text); {
		case errors.Is(err, jose.ErrUnsupportedKeyType):
			continue
		case err != nil:
			return nil, fmt.Errorf("key %d is malformed: see RFC 7517 section 4", i+1)
		}
		algorithm := algorithmOf(parsed.Key)
		if algorithm == "" || parsed.Use == "enc" || parsed.Algorithm != "" && parsed.Algorithm != string(algorithm) {
			continue
		}
		if err := unfit(parsed.Key); err != nil {
			return nil, fmt.Errorf("key %d (kid %q): %w", i+1, parsed.KeyID, err)
		}
		keys = append(keys, key{id: parsed.KeyID, algorithm: algorithm, value: parsed.Key})
	}

	return keys, nil
}

// algorithmOf is the one that a type of key serves here, empty if none. What a token says
// of its algorithm never chooses how a key is used: a public key must not become a
// secret (RFC 8725 section 2.1).
func algorithmOf(value any) jose.SignatureAlgorithm {
	switch value := value.(type) {
	case []byte:
		return jose.HS256
	case *rsa.PublicKey, *rsa.PrivateKey:
		return jose.RS256
	case *ecdsa.PublicKey:
		if value.Curve == elliptic.P256() {
			return jose.ES256
		}
	case *ecdsa.PrivateKey:
		if value.Curve == elliptic.P256() {
			return jose.ES256
		}
	}

	return ""
}

// unfit says why a key must not be used.
func unfit(value any) error {
	switch value := value.(type) {
	case []byte:
		if len(value) < minHMACKey {
			return fmt.Errorf("a secret of HS256 has %d bytes at least", minHMACKey)
		}
	case *rsa.PublicKey:
		if value.N.BitLen() < minRSAKey {
			return fmt.Errorf("a key of RS256 has %d bits at least", minRSAKey)
		}
	case *rsa.PrivateKey, *ecdsa.PrivateKey:
		return errors.New("this is a private key, which is to stay with who signs: give the public one")
	}

	return nil
}
