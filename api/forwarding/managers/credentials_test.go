package managers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// certificate is one for the names that has signed itself.
func certificate(t *testing.T, names ...string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}

	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// viewer keeps the tokens that it is shown.
type viewer struct {
	forwardingv1.UnimplementedViewServer

	mu     sync.Mutex
	tokens []string
}

func (v *viewer) WaitEnforced(
	ctx context.Context, _ *forwardingv1.WaitEnforcedRequest,
) (*forwardingv1.WaitEnforcedResponse, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tokens = append(v.tokens, strings.Join(metadata.ValueFromIncomingContext(ctx, "authorization"), " "))

	return &forwardingv1.WaitEnforcedResponse{}, nil
}

// listen serves a viewer on loopback until the test ends.
func listen(t *testing.T, options ...grpc.ServerOption) (v *viewer, port string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v = &viewer{}
	server := grpc.NewServer(options...)
	forwardingv1.RegisterViewServer(server, v)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	_, port, _ = net.SplitHostPort(listener.Addr().String())

	return v, port
}

// ask calls the manager that the entry names, which is on loopback, and closes the
// connection.
func ask(t *testing.T, entry string, known Credentials) error {
	t.Helper()
	lookup := func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	set, err := New([]string{entry}, lookup, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	looking, looked := context.WithCancel(ctx)
	set.Run(looking, func(addresses []string) {
		if len(addresses) > 0 {
			looked()
		}
	})
	connection, err := set.Dial(set.Addresses()[0], known.Options()...)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	_, err = forwardingv1.NewViewClient(connection).WaitEnforced(ctx, &forwardingv1.WaitEnforcedRequest{})

	return err
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAManagerIsWhoHasACertificateForTheNameInTheConfiguration(t *testing.T) {
	right, authority := certificate(t, "managers.nagi.svc")
	_, stranger := certificate(t, "managers.nagi.svc")
	v, port := listen(t, grpc.Creds(credentials.NewServerTLSFromCert(&right)))
	dir := t.TempDir()
	known := Credentials{CAFile: filepath.Join(dir, "ca.crt"), TokenFile: filepath.Join(dir, "token")}
	write(t, known.CAFile, stranger)
	write(t, known.TokenFile, []byte("one\n"))
	refused := func(entry, words string) {
		t.Helper()
		if err := ask(t, entry, known); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), words) {
			t.Errorf("%v; want %q", err, words)
		}
	}
	refused("managers.nagi.svc:"+port, "certificate signed by unknown authority")
	// The file changes, as it does when authorities do.
	write(t, known.CAFile, append(stranger, authority...))
	if err := ask(t, "managers.nagi.svc:"+port, known); err != nil {
		t.Error(err)
	}
	write(t, known.TokenFile, []byte("two\n"))
	if err := ask(t, "managers.nagi.svc:"+port, known); err != nil {
		t.Error(err)
	}
	if got := strings.Join(v.tokens, ","); got != "Bearer one,Bearer two" {
		t.Errorf("the manager was shown %q", got)
	}
	refused("others.nagi.svc:"+port, "certificate is valid for managers.nagi.svc, not others.nagi.svc")
	refused("127.0.0.1:"+port, "cannot validate certificate for 127.0.0.1")
	write(t, known.CAFile, []byte("nothing"))
	refused("managers.nagi.svc:"+port, "has no certificate in it")
}

func TestATokenIsNeverShownInPlaintext(t *testing.T) {
	v, port := listen(t)
	dir := t.TempDir()
	known := Credentials{CAFile: filepath.Join(dir, "ca.crt"), TokenFile: filepath.Join(dir, "token")}
	_, authority := certificate(t, "managers.nagi.svc")
	write(t, known.CAFile, authority)
	write(t, known.TokenFile, []byte("secret"))
	if err := ask(t, "managers.nagi.svc:"+port, known); status.Code(err) != codes.Unavailable {
		t.Errorf("a manager that knows no TLS: %v", err)
	}
	if len(v.tokens) != 0 {
		t.Errorf("it was shown %q", v.tokens)
	}
	if err := ask(t, "127.0.0.1:"+port, Credentials{}); err != nil || len(v.tokens) != 1 || v.tokens[0] != "" {
		t.Errorf("on loopback without credentials: %v, shown %q", err, v.tokens)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		write(t, path, []byte(content))

		return path
	}
	_, authority := certificate(t, "managers.nagi.svc")
	ca, token := file("ca.crt", string(authority)), file("token", "a.b.c\n")
	for _, test := range []struct {
		known Credentials
		entry string
		words string // empty: right
	}{
		{Credentials{}, "127.0.0.1:7300", ""},
		{Credentials{}, "[::1]:7300", ""},
		{Credentials{}, "localhost:7300", ""},
		{Credentials{}, "nowhere", "--managers: "},
		{Credentials{}, "192.0.2.1:7300", "--manager-ca=FILE"},
		{Credentials{}, "managers.nagi.svc:7300", "--manager-ca=FILE"},
		{Credentials{CAFile: ca, TokenFile: token}, "managers.nagi.svc:7300", ""},
		{Credentials{CAFile: ca}, "managers.nagi.svc:7300", "go together"},
		{Credentials{TokenFile: token}, "127.0.0.1:7300", "go together"},
		{Credentials{CAFile: dir + "/none", TokenFile: token}, "managers.nagi.svc:7300", "ConfigMap nagi-ca"},
		{Credentials{CAFile: token, TokenFile: token}, "managers.nagi.svc:7300", "has no certificate in it"},
		{Credentials{CAFile: ca, TokenFile: dir + "/none"}, "managers.nagi.svc:7300", "audience nagi"},
		{Credentials{CAFile: ca, TokenFile: file("empty", "\n")}, "managers.nagi.svc:7300", "is empty"},
	} {
		err := test.known.Check([]string{test.entry})
		if (err == nil) != (test.words == "") || err != nil && !strings.Contains(err.Error(), test.words) {
			t.Errorf("%+v with %s: %v; want %q", test.known, test.entry, err, test.words)
		}
	}
}
