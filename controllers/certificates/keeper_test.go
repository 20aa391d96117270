package certificates

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientmodel "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

const patience = 60 * time.Second

var names = Names{DNS: []string{"managers.nagi.svc"}, Addresses: []net.IP{net.IPv4(127, 0, 0, 1)}}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

func newNamespace(t *testing.T) string {
	t.Helper()
	namespace, err := core.Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "certificates-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	return namespace.Name
}

// keep runs a keeper until the test ends.
func keep(t *testing.T, config Config) *Keeper {
	t.Helper()
	if config.REST == nil {
		config.REST = plane.Config
	}
	config.Names, config.Log, config.Registerer = names, slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	config.Interval = 20 * time.Millisecond
	k, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})

	return k
}

// bundleIn is what clients in the namespace trust; "" while they are told nothing.
func bundleIn(t *testing.T, namespace string) string {
	t.Helper()
	told, err := core.ConfigMaps(namespace).Get(t.Context(), Object, metav1.GetOptions{})
	if err != nil {
		return ""
	}

	return told.Data[bundleKey]
}

// trusted tells whether the clients of the namespace trust what the keeper serves with.
func trusted(t *testing.T, k *Keeper, namespace string) bool {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(bundleIn(t, namespace)))
	serving := k.serving.Load()
	if serving == nil {
		return false
	}
	_, err := serving.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "managers.nagi.svc"})

	return err == nil && serving.Leaf.VerifyHostname("127.0.0.1") == nil
}

func TestManagersThatStartAtOnceHaveOneAuthority(t *testing.T) {
	own, tenant, absent := newNamespace(t), newNamespace(t), "there-is-none"
	var keepers []*Keeper
	for range 5 {
		keepers = append(keepers, keep(t, Config{Namespace: own, Namespaces: []string{tenant, absent}}))
	}
	for _, k := range keepers {
		until(t, "every manager is trusted everywhere", func() bool {
			return trusted(t, k, own) && trusted(t, k, tenant) && k.Ready() == nil && k.Failing() == nil
		})
	}
	for _, k := range keepers {
		var failures clientmodel.Metric
		if err := k.metrics.failures.Write(&failures); err != nil || failures.GetCounter().GetValue() > 0 {
			t.Errorf("that others were first is told as %v failures: %v", failures.GetCounter().GetValue(), err)
		}
	}
	if n := strings.Count(bundleIn(t, tenant), "BEGIN CERTIFICATE"); n != 1 {
		t.Errorf("there are %d authorities", n)
	}
	secret, err := core.Secrets(own).Get(t.Context(), Object, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := decode(secret.Data[rootsKey])
	if err != nil || len(stored) != 1 || stored[0].signsFrom.IsZero() || stored.bundle() != bundleIn(t, own) {
		t.Errorf("stored are %d roots: %v", len(stored), err)
	}

	// What somebody does to the ConfigMap is mended.
	if err := core.ConfigMaps(tenant).Delete(t.Context(), Object, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "it is there again", func() bool { return trusted(t, keepers[0], tenant) })
}

func TestASecretThatIsNotOursIsLeftAlone(t *testing.T) {
	own := newNamespace(t)
	foreign := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: Object}, Data: map[string][]byte{rootsKey: []byte("not ours")},
	}
	if _, err := core.Secrets(own).Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	k := keep(t, Config{Namespace: own})
	until(t, "it says what to do", func() bool {
		return k.Ready() != nil && strings.Contains(k.Ready().Error(), "delete it")
	})
	if _, err := k.Credentials().GetCertificate(nil); err == nil {
		t.Error("it serves with something")
	}
	if err := core.Secrets(own).Delete(t.Context(), Object, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "it makes its own", func() bool { return k.Ready() == nil && trusted(t, k, own) })
}

// rolesOf makes the roles that are shipped for managers, without one right, for a user
// of the API server.
func rolesOf(
	t *testing.T, own, tenant, user string, left func(kind string, rule rbacv1.PolicyRule, verb string) bool,
) *rest.Config {
	t.Helper()
	credentials, err := plane.Environment.AddUser(envtest.User{Name: user}, nil)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "manager", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	namespaceOf := map[string]string{"Role": own, "ClusterRole": tenant}
	for _, document := range strings.Split(strings.TrimPrefix(string(content), "---\n"), "\n---\n") {
		var role rbacv1.Role // A ClusterRole that is bound in a namespace gives the same there.
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatal(err)
		}
		namespace := namespaceOf[role.Kind]
		var rules []rbacv1.PolicyRule
		for _, rule := range role.Rules {
			rule.Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(verb string) bool {
				return !left(role.Kind, rule, verb)
			})
			if len(rule.Verbs) > 0 {
				rules = append(rules, rule)
			}
		}
		meta := metav1.ObjectMeta{Namespace: namespace, Name: user + "-" + strings.ToLower(role.Kind)}
		_, err := rbac.Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules},
			metav1.CreateOptions{})
		_, bindErr := rbac.RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		}, metav1.CreateOptions{})
		if err := errors.Join(err, bindErr); err != nil {
			t.Fatal(err)
		}
	}

	return credentials.Config()
}

// Each right that the shipped roles give is needed, and all of them are enough.
func TestShippedRoles(t *testing.T) {
	for name, test := range map[string]struct{ kind, resource, verb, words string }{
		"all":               {},
		"secrets-create":    {"Role", "secrets", "create", "write the certificate authority"},
		"secrets-get":       {"Role", "secrets", "get", "read the certificate authority"},
		"secrets-update":    {"Role", "secrets", "update", "write the certificate authority"},
		"configmaps-create": {"Role", "configmaps", "create", "write what clients trust"},
		"configmaps-patch":  {"Role", "configmaps", "patch", "write what clients trust"},
		"tenant-create":     {"ClusterRole", "configmaps", "create", "write what clients trust"},
		"tenant-patch":      {"ClusterRole", "configmaps", "patch", "write what clients trust"},
	} {
		t.Run(name, func(t *testing.T) {
			own, tenant := newNamespace(t), newNamespace(t)
			config := rolesOf(t, own, tenant, "keeper-"+name, func(kind string, rule rbacv1.PolicyRule, verb string) bool {
				return kind != test.kind || rule.Resources[0] != test.resource || verb != test.verb
			})
			k := keep(t, Config{REST: config, Namespace: own, Namespaces: []string{tenant}})
			if test.words == "" {
				until(t, "it is trusted", func() bool { return trusted(t, k, own) && trusted(t, k, tenant) })
				if err := k.Failing(); err != nil {
					t.Error(err)
				}

				return
			}
			until(t, "it says what it may not", func() bool {
				err := k.Failing()

				return err != nil && strings.Contains(err.Error(), test.words) && strings.Contains(err.Error(), "forbidden")
			})
		})
	}
}
