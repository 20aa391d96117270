package certificates

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
)

// manager serves gRPC with a keeper's certificates.
type manager struct {
	*Keeper
	health  *health.Server
	address string
}

func startManager(t *testing.T, config Config) *manager {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{Keeper: keep(t, config), health: health.NewServer(), address: listener.Addr().String()}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(m.Credentials())))
	grpc_health_v1.RegisterHealthServer(server, m.health)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})

	return m
}

// client is a pod of a namespace, with the ConfigMap mounted.
type client struct {
	namespace string
	known     managers.Credentials
}

func newClient(t *testing.T, namespace string) *client {
	t.Helper()
	dir := t.TempDir()
	c := &client{
		namespace, managers.Credentials{CAFile: filepath.Join(dir, "ca.crt"), TokenFile: filepath.Join(dir, "token")},
	}
	if err := os.WriteFile(c.known.TokenFile, []byte("token"), 0o600); err != nil {
		t.Fatal(err)
	}

	return c
}

// dial has the mounted file be what the ConfigMap says, as kubelet does, and returns a
// connection.
func (c *client) dial(t *testing.T, m *manager) *grpc.ClientConn {
	t.Helper()
	if err := os.WriteFile(c.known.CAFile, []byte(bundleIn(t, c.namespace)), 0o600); err != nil {
		t.Fatal(err)
	}
	connection, err := managers.Dial(m.address, c.known.Options()...)
	if err != nil {
		t.Fatal(err)
	}

	return connection
}

// signedBy connects anew and tells who has signed the manager's certificate, and the
// certificate's number.
func (c *client) signedBy(t *testing.T, m *manager) (issuer, number string) {
	t.Helper()
	connection := c.dial(t, m)
	defer func() { _ = connection.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var from peer.Peer
	if _, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{},
		grpc.Peer(&from)); err != nil {
		t.Fatalf("a connection of which nobody should notice the rotation: %v", err)
	}
	leaf := from.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0]

	return string(leaf.AuthorityKeyId), leaf.SerialNumber.String()
}

// While an authority takes the place of another, every connection that is made is
// trusted, and the one that is there stays.
func TestRotationDropsNothing(t *testing.T) {
	for name, test := range map[string]struct {
		lifetimes Lifetimes
		begin     func(t *testing.T, own string)
	}{
		"because it is time": {
			Lifetimes{Root: 18 * time.Second, Settle: time.Second, Serving: 3 * time.Second}, func(*testing.T, string) {},
		},
		"because somebody deletes the Secret": {
			Lifetimes{Root: time.Hour, Settle: time.Second, Serving: 3 * time.Second}, func(t *testing.T, own string) {
				if err := core.Secrets(own).Delete(t.Context(), Object, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own, tenant := newNamespace(t), newNamespace(t)
			config := Config{Namespace: own, Namespaces: []string{tenant}, Lifetimes: test.lifetimes}
			a, b := startManager(t, config), startManager(t, config)
			for _, m := range []*manager{a, b} {
				until(t, "clients trust the manager", func() bool { return trusted(t, m.Keeper, tenant) && m.Failing() == nil })
			}
			c := newClient(t, tenant)
			living := c.dial(t, a)
			defer func() { _ = living.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			stream, err := grpc_health_v1.NewHealthClient(living).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			first, _ := c.signedBy(t, a)
			test.begin(t, own)

			both, seen := false, map[string]bool{}
			until(t, "both managers serve with another authority, and the first one is trusted no longer", func() bool {
				issuerA, numberA := c.signedBy(t, a)
				issuerB, _ := c.signedBy(t, b)
				seen[numberA] = true
				told := strings.Count(bundleIn(t, tenant), "BEGIN CERTIFICATE")
				both = both || told == 2

				return issuerA != first && issuerB != first && told == 1
			})
			if !both {
				t.Error("clients were never told of two authorities")
			}
			if len(seen) < 3 {
				t.Errorf("manager a has served with %d certificates: they are not renewed", len(seen))
			}
			a.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
			if said, err := stream.Recv(); err != nil || said.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
				t.Errorf("the living stream says %v: %v", said, err)
			}
		})
	}
}

// away is a way to the API server that can be cut.
type away struct {
	next http.RoundTripper
	cut  atomic.Bool
}

func (a *away) RoundTrip(request *http.Request) (*http.Response, error) {
	if a.cut.Load() {
		return nil, errors.New("the API server is away")
	}

	return a.next.RoundTrip(request)
}

// A manager that cannot read the Secret goes on signing for itself by what it knows.
func TestAnAPIServerThatIsAwayEndsNoCertificate(t *testing.T) {
	own, tenant, way := newNamespace(t), newNamespace(t), &away{}
	config := rest.CopyConfig(plane.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		way.next = next

		return way
	})
	m := startManager(t, Config{
		REST: config, Namespace: own, Namespaces: []string{tenant}, Lifetimes: Lifetimes{Serving: 2 * time.Second},
	})
	until(t, "clients trust the manager", func() bool { return trusted(t, m.Keeper, tenant) && m.Failing() == nil })
	way.cut.Store(true)
	c, seen := newClient(t, tenant), map[string]bool{}
	until(t, "it has served with three more certificates", func() bool {
		_, number := c.signedBy(t, m)
		seen[number] = true

		return len(seen) > 3
	})
	if err := m.Failing(); err == nil || !strings.Contains(err.Error(), "the API server is away") || m.Ready() != nil {
		t.Errorf("it says %v, and is ready: %v", err, m.Ready())
	}
}

// Who may write ConfigMaps in one tenant's namespace can keep its own clients from being
// told, and says so by /readyz, but not the authority of all others from being replaced.
func TestATenantCannotStopARotation(t *testing.T) {
	own, tenant, stubborn := newNamespace(t), newNamespace(t), newNamespace(t)
	m := startManager(t, Config{Namespace: own, Namespaces: []string{tenant, stubborn}, Lifetimes: Lifetimes{
		Settle: time.Second, Serving: 2 * time.Second,
	}})
	until(t, "clients trust the manager", func() bool { return trusted(t, m.Keeper, stubborn) && m.Failing() == nil })
	frozen := []byte(`{"immutable": true, "data": {"ca.crt": "another"}}`)
	if _, err := core.ConfigMaps(stubborn).Patch(t.Context(), Object, types.MergePatchType, frozen,
		metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, tenant)
	first, _ := c.signedBy(t, m)
	if err := core.Secrets(own).Delete(t.Context(), Object, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "another authority has taken the place of the first one", func() bool {
		issuer, _ := c.signedBy(t, m)

		return issuer != first && strings.Count(bundleIn(t, tenant), "BEGIN CERTIFICATE") == 1
	})
	if err := m.Failing(); err == nil || !strings.Contains(err.Error(), stubborn+"/"+Object) {
		t.Errorf("it says %v", err)
	}
}
