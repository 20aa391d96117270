package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// signers are made once: RSA keys take their time.
var signers = sync.OnceValue(func() (s struct {
	secret, otherSecret []byte
	rsa, otherRSA       *rsa.PrivateKey
	ec, otherEC, ec384  *ecdsa.PrivateKey
}) {
	s.secret, s.otherSecret = bytes.Repeat([]byte("k"), 32), bytes.Repeat([]byte("o"), 32)
	var errs [5]error
	s.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	s.otherRSA, errs[1] = rsa.GenerateKey(rand.Reader, 2048)
	s.ec, errs[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.otherEC, errs[3] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.ec384, errs[4] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err := errors.Join(errs[:]...); err != nil {
		panic(err)
	}

	return s
})

// jwks is a JWK Set in JSON.
func jwks(tb testing.TB, keys ...jose.JSONWebKey) []byte {
	tb.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		tb.Fatal(err)
	}

	return text
}

// all are keys of every algorithm.
func all() []jose.JSONWebKey {
	s := signers()

	return []jose.JSONWebKey{
		{Key: s.secret, KeyID: "hs"}, {Key: &s.rsa.PublicKey, KeyID: "rs", Algorithm: "RS256", Use: "sig"},
		{Key: &s.ec.PublicKey, KeyID: "es"}, {Key: &s.ec384.PublicKey, KeyID: "es384"},
	}
}

func write(tb testing.TB, path string, text []byte) {
	tb.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// tokens trust the keys of a file.
func tokens(tb testing.TB, config TokensConfig, keys ...jose.JSONWebKey) *Tokens {
	tb.Helper()
	if config.JWKSFile == "" {
		config.JWKSFile = filepath.Join(tb.TempDir(), "jwks.json")
		write(tb, config.JWKSFile, jwks(tb, keys...))
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	config.Registerer = prometheus.NewRegistry()
	t, err := NewTokens(config)
	if err != nil {
		tb.Fatal(err)
	}

	return t
}

type claims map[string]any

// good are claims that let a client in.
func good(change ...claims) claims {
	c := claims{"channel_id": "sora", "exp": time.Now().Add(time.Hour).Unix()}
	for _, change := range change {
		maps.Copy(c, change)
	}

	return c
}

// sign makes a token. A header is added to that of the algorithm.
func sign(
	tb testing.TB, algorithm jose.SignatureAlgorithm, key, payload any, headers ...map[jose.HeaderKey]any,
) string {
	tb.Helper()
	options := &jose.SignerOptions{}
	for _, header := range headers {
		for name, value := range header {
			options.WithHeader(name, value)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		tb.Fatal(err)
	}
	text, ok := payload.(string)
	if !ok {
		encoded, err := json.Marshal(payload)
		if err != nil {
			tb.Fatal(err)
		}
		text = string(encoded)
	}
	signed, err := signer.Sign([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		tb.Fatal(err)
	}

	return token
}

func kid(id string) map[jose.HeaderKey]any { return map[jose.HeaderKey]any{"kid": id} }

// with is what a client asks for that has a token.
func with(token string) Request {
	request := asked()
	metadata, err := json.Marshal(map[string]string{"access_token": token, "other": secret})
	if err != nil {
		panic(err)
	}
	request.Metadata = metadata

	return request
}

// in is a time in the words of a claim.
func in(d time.Duration) int64 { return time.Now().Add(d).Unix() }

func TestTokensLetIn(t *testing.T) {
	s := signers()
	authority := tokens(t, TokensConfig{}, all()...)
	strict := tokens(t, TokensConfig{Audience: "nagi", Issuer: "app"}, all()...)
	plain := Answer{"client_id": []byte(`"ID"`), "bundle_id": []byte(`"ID"`)}
	for name, test := range map[string]struct {
		authority *Tokens
		token     string
		want      Answer
	}{
		"HS256":          {authority, sign(t, jose.HS256, s.secret, good()), plain},
		"RS256":          {authority, sign(t, jose.RS256, s.rsa, good()), plain},
		"ES256":          {authority, sign(t, jose.ES256, s.ec, good(), kid("es")), plain},
		"without an end": {authority, sign(t, jose.HS256, s.secret, claims{"channel_id": "sora"}), plain},
		"clocks differ": {authority, sign(t, jose.HS256, s.secret, good(claims{
			"exp": in(-20 * time.Second), "nbf": in(20 * time.Second),
		})), plain},
		"one of the audiences": {strict, sign(t, jose.HS256, s.secret, good(claims{
			"aud": []string{"x", "nagi"}, "iss": "app",
		})), plain},
		"what it decides": {authority, sign(t, jose.HS256, s.secret, good(claims{
			"client_id": "alice", "role": "recvonly", "metadata": claims{"a": 1}, "sub": "x", "jti": "y", "iss": "z",
			"allowed": true, "bundle_id": nil, "iat": time.Now().Unix(),
		})), Answer{
			"client_id": []byte(`"alice"`), "bundle_id": []byte(`"ID"`), "role": []byte(`"recvonly"`),
			"metadata": []byte(`{"a":1}`),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := test.authority.Decide(t.Context(), with(test.token))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, answer); diff != "" {
				t.Errorf("the answer (-want +got):\n%s", diff)
			}
		})
	}
}

// encoded makes a token of parts, signed or not.
func encoded(header, payload, signature string) string {
	e := base64.RawURLEncoding

	return e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(payload)) + "." +
		e.EncodeToString([]byte(signature))
}

func TestTokensRefuse(t *testing.T) {
	s := signers()
	authority := tokens(t, TokensConfig{}, all()...)
	strict := tokens(t, TokensConfig{Audience: "nagi", Issuer: "app"}, all()...)
	signed := func(change claims) string { return sign(t, jose.HS256, s.secret, good(change)) }
	says := func(payload string) string { return sign(t, jose.HS256, s.secret, payload) }
	good256 := signed(nil)
	public, err := x509.MarshalPKIXPublicKey(&s.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	payload, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		authority *Tokens
		token     string
	}{
		"nothing":                     {authority, ""},
		"no token":                    {authority, "Bearer"},
		"none":                        {authority, encoded(`{"alg":"none"}`, string(payload), "")},
		"None":                        {authority, encoded(`{"alg":"None"}`, string(payload), "x")},
		"no algorithm":                {authority, encoded(`{}`, string(payload), "x")},
		"no signature":                {authority, encoded(`{"alg":"HS256"}`, string(payload), "")},
		"cut off":                     {authority, good256[:len(good256)-2]},
		"other claims":                {authority, swapPayload(good256, string(payload)+" ")},
		"another secret":              {authority, sign(t, jose.HS256, s.otherSecret, good())},
		"another key of RSA":          {authority, sign(t, jose.RS256, s.otherRSA, good())},
		"another key of P-256":        {authority, sign(t, jose.ES256, s.otherEC, good())},
		"a public key as secret, PEM": {authority, sign(t, jose.HS256, publicPEM, good())},
		"a public key as secret, DER": {authority, sign(t, jose.HS256, public, good(), kid("rs"))},
		"a modulus as secret":         {authority, sign(t, jose.HS256, s.rsa.N.Bytes(), good(), kid("rs"))},
		"a curve's point as secret":   {authority, sign(t, jose.HS256, s.ec.X.Bytes(), good(), kid("es"))},
		"the id of another key":       {authority, sign(t, jose.HS256, s.secret, good(), kid("rs"))},
		"the id of no key":            {authority, sign(t, jose.RS256, s.rsa, good(), kid("x"))},
		"HS512":                       {authority, sign(t, jose.HS512, bytes.Repeat(s.secret, 2), good())},
		"PS256":                       {authority, sign(t, jose.PS256, s.rsa, good())},
		"RS512":                       {authority, sign(t, jose.RS512, s.rsa, good())},
		"ES384":                       {authority, sign(t, jose.ES384, s.ec384, good(), kid("es384"))},
		"a key of its own": {authority, sign(t, jose.ES256, s.otherEC, good(), map[jose.HeaderKey]any{
			"jwk": jose.JSONWebKey{Key: &s.otherEC.PublicKey},
		})},
		"what it must not do without": {authority, sign(t, jose.HS256, s.secret, good(), map[jose.HeaderKey]any{
			"crit": []string{"x"}, "x": 1,
		})},
		"in JSON":                      {authority, `{"payload":"","protected":"","signature":""}`},
		"another channel":              {authority, signed(claims{"channel_id": "other"})},
		"no channel":                   {authority, sign(t, jose.HS256, s.secret, claims{"client_id": "alice"})},
		"a channel of another type":    {authority, signed(claims{"channel_id": []string{"sora"}})},
		"channels of the same letters": {authority, signed(claims{"channel_id": "SORA"})},
		"over":                         {authority, signed(claims{"exp": in(-40 * time.Second)})},
		"not yet":                      {authority, signed(claims{"nbf": in(40 * time.Second)})},
		"made tomorrow":                {authority, signed(claims{"iat": in(24 * time.Hour)})},
		"an end in words":              {authority, signed(claims{"exp": "tomorrow"})},
		"an end beyond all":            {authority, says(`{"channel_id":"sora","exp":1e300}`)},
		"two ends":                     {authority, says(`{"channel_id":"sora","exp":1,"exp":99999999999}`)},
		"for somebody else":            {authority, signed(claims{"aud": "billing"})},
		"an audience, none is ours":    {strict, signed(claims{"aud": "billing", "iss": "app"})},
		"no audience":                  {strict, signed(claims{"iss": "app"})},
		"another issuer":               {strict, signed(claims{"aud": "nagi", "iss": "apple"})},
		"no issuer":                    {strict, signed(claims{"aud": "nagi"})},
		"claims that are no object":    {authority, says(`["sora"]`)},
		"claims that are nothing":      {authority, says(`null`)},
		"claims that are no JSON":      {authority, says(`sora`)},
		"a claim that is no UTF-8":     {authority, says("{\"channel_id\":\"sora\",\"client_id\":\"\xff\"}")},
		"not allowed":                  {authority, signed(claims{"allowed": false})},
		"not quite allowed":            {authority, signed(claims{"allowed": "yes"})},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := test.authority.Decide(t.Context(), with(test.token))
			expectError(t, err, true, "", "")
			if test.token != "" && err != nil && strings.Contains(err.Error(), test.token) {
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
	for _, metadata := range []string{"", "null", "7", `"x"`, `[]`, `{}`, `{"access_token":null}`, `{"access_token":7}`} {
		_, err := authority.Decide(t.Context(), Request{ChannelID: "sora", Metadata: json.RawMessage(metadata)})
		expectError(t, err, true, "", "")
	}
	_, err = authority.Decide(t.Context(), with(signed(claims{"allowed": false, "reason": "BANNED"})))
	expectError(t, err, true, "BANNED", "")
}

// swapPayload puts another payload under a token's signature.
func swapPayload(token, payload string) string {
	parts := strings.Split(token, ".")

	return parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + "." + parts[2]
}

// FuzzTokens: no bytes let anybody in that nobody signed.
func FuzzTokens(f *testing.F) {
	s := signers()
	authority := tokens(f, TokensConfig{}, all()...)
	over := good(claims{"exp": 1})
	for _, token := range []string{
		sign(f, jose.HS256, s.secret, over), sign(f, jose.RS256, s.rsa, over, kid("rs")), sign(f, jose.ES256, s.ec, over),
	} {
		parts := strings.Split(token, ".")
		var decoded [3][]byte
		for i := range parts {
			part, err := base64.RawURLEncoding.DecodeString(parts[i])
			if err != nil {
				f.Fatal(err)
			}
			decoded[i] = part
		}
		f.Add(decoded[0], decoded[1], decoded[2])
	}
	f.Add([]byte(`{"alg":"none"}`), []byte(`{"channel_id":"sora"}`), []byte{})
	f.Fuzz(func(t *testing.T, header, payload, signature []byte) {
		_, err := authority.Decide(t.Context(), with(encoded(string(header), string(payload), string(signature))))
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Fatalf("%q.%q.%q: %v", header, payload, signature, err)
		}
	})
}
