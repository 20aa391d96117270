package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A file that changes is read again within a second. One that cannot be read leaves the
// keys as they are, and is told of once. One that has no key any more lets nobody in.
func TestKeysAreReadAgain(t *testing.T) {
	s := signers()
	path := filepath.Join(t.TempDir(), "jwks.json")
	write(t, path, jwks(t, jose.JSONWebKey{Key: s.secret}))
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		authority := tokens(t, TokensConfig{JWKSFile: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
		older, newer := sign(t, jose.HS256, s.secret, good()), sign(t, jose.ES256, s.ec, good())
		expect := func(what string, olderPasses, newerPasses bool, unreadable float64, logged int) {
			t.Helper()
			for token, passes := range map[string]bool{older: olderPasses, newer: newerPasses} {
				if _, err := authority.Decide(t.Context(), with(token)); (err == nil) != passes {
					t.Errorf("%s: %v, want that it passes: %t", what, err, passes)
				}
			}
			var metric dto.Metric
			if err := authority.keys.unreadable.Write(&metric); err != nil {
				t.Fatal(err)
			}
			if got := metric.GetGauge().GetValue(); got != unreadable {
				t.Errorf("%s: unreadable is %v", what, got)
			}
			if got := strings.Count(log.String(), "\n"); got != logged {
				t.Errorf("%s: %d lines are logged, want %d:\n%s", what, got, logged, log.String())
			}
		}
		expect("at first", true, false, 0, 0)
		write(t, path, jwks(t, jose.JSONWebKey{Key: &s.ec.PublicKey}))
		expect("within the second", true, false, 0, 0)
		time.Sleep(lookAgain)
		expect("changed", false, true, 0, 1)
		write(t, path, []byte(`{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}`))
		for range 3 {
			time.Sleep(lookAgain)
			expect("broken", false, true, 1, 2)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookAgain)
		expect("gone", false, true, 1, 3)
		write(t, path, jwks(t, jose.JSONWebKey{Key: s.secret}, jose.JSONWebKey{Key: &s.ec.PublicKey}))
		time.Sleep(lookAgain)
		expect("mended", true, true, 0, 5)
		write(t, path, []byte(`{"keys":[]}`))
		time.Sleep(lookAgain)
		expect("emptied", false, false, 0, 6)
		write(t, path, jwks(t, jose.JSONWebKey{Key: s.secret}))
		time.Sleep(lookAgain)
		expect("filled", true, false, 0, 7)
	})
}

// A key serves the algorithm of its kind alone, whatever a token asks for.
func TestAKeyServesOneAlgorithm(t *testing.T) {
	authority := tokens(t, TokensConfig{}, all()...)
	for id, serves := range map[string]jose.SignatureAlgorithm{"hs": jose.HS256, "rs": jose.RS256, "es": jose.ES256} {
		for _, algorithm := range []jose.SignatureAlgorithm{jose.HS256, jose.RS256, jose.ES256, jose.PS256, "none", ""} {
			if got := len(authority.keys.matching(algorithm, id)); (got == 1) != (algorithm == serves) || got > 1 {
				t.Errorf("%d keys %q serve %q", got, id, algorithm)
			}
		}
	}
	if got := authority.keys.matching(jose.ES384, ""); len(got) > 0 {
		t.Errorf("%d keys serve ES384", len(got))
	}
}

func TestKeysThatCannotServeAreRefused(t *testing.T) {
	s := signers()
	weak, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // That is what is refused.
	if err != nil {
		t.Fatal(err)
	}
	short := []byte("short")
	for name, test := range map[string]struct{ text, want string }{
		"nothing":           {"", "no JWK Set"},
		"no set":            {`{"kty":"oct"}`, "no JWK Set"},
		"a list":            {`[]`, "no JWK Set"},
		"no keys":           {`{"keys":[]}`, "no key is one for"},
		"a key of no kind":  {`{"keys":[{}]}`, "key 1 is malformed"},
		"a short secret":    {string(jwks(t, jose.JSONWebKey{Key: short})), "32 bytes"},
		"a weak key":        {string(jwks(t, jose.JSONWebKey{Key: &weak.PublicKey})), "2048 bits"},
		"a private key":     {string(jwks(t, jose.JSONWebKey{Key: s.ec})), "private key"},
		"a private RSA key": {string(jwks(t, jose.JSONWebKey{Key: s.rsa, KeyID: "it"})), `kid "it"`},
		"other purposes": {string(jwks(t,
			jose.JSONWebKey{Key: short, Algorithm: "A128KW"}, jose.JSONWebKey{Key: short, Use: "enc"},
			jose.JSONWebKey{Key: &s.ec384.PublicKey}, jose.JSONWebKey{Key: &s.rsa.PublicKey, Algorithm: "PS256"},
		)), "no key is one for"},
		"a kind of the future": {`{"keys":[{"kty":"XYZ"}]}`, "no key is one for"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "jwks.json")
			write(t, path, []byte(test.text))
			_, err := NewTokens(TokensConfig{JWKSFile: path, Registerer: prometheus.NewRegistry()})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one with %q and the file", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), base64.RawURLEncoding.EncodeToString(short)) {
				t.Errorf("the error tells a key: %v", err)
			}
		})
	}
	if _, err := NewTokens(TokensConfig{JWKSFile: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
