package managers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Credentials are how a program and the managers know each other. The zero value is
// plaintext without a token, which managers serve on loopback alone.
type Credentials struct {
	// CAFile is a file of PEM certificates, one of which has signed the managers'. It
	// is read at each connection, so it may change.
	CAFile string
	// TokenFile is a file with a ServiceAccount token for the audience nagi. It is read
	// for each call, as kubelet renews it.
	TokenFile string
}

// Check tells what is wrong with the options of a program that dials these
// managers, host:port each: it has both files or none, and none only where all
// managers are on loopback.
func (c Credentials) Check(entries []string) error {
	if err := Parse(entries); err != nil {
		return fmt.Errorf("--managers: %w", err)
	}
	if c == (Credentials{}) {
		for _, entry := range entries {
			if !onLoopback(entry) {
				return fmt.Errorf("--managers=%s is on another machine, or may be: say with --manager-ca=FILE who may have "+
					"signed its certificate, and with --token-file=FILE who this program is", entry)
			}
		}

		return nil
	}
	if c.CAFile == "" || c.TokenFile == "" {
		return errors.New("--manager-ca and --token-file go together: give both, or none for managers on loopback")
	}
	if _, err := c.roots(); err != nil {
		return err
	}
	_, err := c.Token()

	return err
}

// onLoopback tells whether an entry, host:port, can be nowhere but on this machine.
func onLoopback(entry string) bool {
	host, _, err := net.SplitHostPort(entry)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)

	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}

// Options are what to dial managers with.
func (c Credentials) Options() []grpc.DialOption {
	if c == (Credentials{}) {
		return []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}

	return []grpc.DialOption{grpc.WithTransportCredentials(transport{c}), grpc.WithPerRPCCredentials(bearer{c})}
}

// Token reads the token; "" where there is none to show.
func (c Credentials) Token() (string, error) {
	if c.TokenFile == "" {
		return "", nil
	}
	content, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token that managers are shown: %w; --token-file names a projected "+
			"ServiceAccount token with the audience nagi", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "",
			fmt.Errorf("--token-file=%s is empty: name a projected ServiceAccount token with the audience nagi", c.TokenFile)
	}

	return token, nil
}

func (c Credentials) roots() (*x509.CertPool, error) {
	content, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read who may sign the managers' certificates: %w; --manager-ca names the file ca.crt of "+
			"the ConfigMap nagi-ca", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(content) {
		return nil,
			fmt.Errorf("--manager-ca=%s has no certificate in it: name the file ca.crt of the ConfigMap nagi-ca", c.CAFile)
	}

	return roots, nil
}

// transport is TLS whose roots are read at each handshake.
type transport struct{ Credentials }

func (t transport) ClientHandshake(
	ctx context.Context, authority string, raw net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	roots, err := t.roots()
	if err != nil {
		return nil, nil, err
	}

	secured := credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13})

	return secured.ClientHandshake(ctx, authority, raw)
}

func (transport) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a client's credentials")
}

func (transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (t transport) Clone() credentials.TransportCredentials { return t }

// OverrideServerName implements credentials.TransportCredentials, which deprecates it.
func (transport) OverrideServerName(string) error {
	return errors.New("the name of a manager is its authority")
}

// bearer shows the token with each call, never in plaintext.
type bearer struct{ Credentials }

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := b.Token()
	if err != nil {
		return nil, err
	}

	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }
