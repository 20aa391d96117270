package claims

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// shipped is a user of the API server with the roles that are shipped for managers, but
// without one right.
func shipped(t *testing.T, own, tenant, user, lacksResource, lacksVerb string) *rest.Config {
	t.Helper()
	credentials, err := plane.Environment.AddUser(envtest.User{Name: user}, nil)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "manager", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	roles := k8s.RbacV1()
	for document := range strings.SplitSeq(strings.TrimPrefix(string(content), "---\n"), "\n---\n") {
		var role rbacv1.Role // A ClusterRole that is bound in a namespace gives the same there.
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatal(err)
		}
		namespace := map[string]string{"Role": own, "ClusterRole": tenant}[role.Kind]
		var rules []rbacv1.PolicyRule
		for _, rule := range role.Rules {
			if slices.Contains(rule.Resources, lacksResource) {
				rule.Verbs = slices.DeleteFunc(rule.Verbs, func(verb string) bool { return verb == lacksVerb })
			}
			if len(rule.Verbs) > 0 {
				rules = append(rules, rule)
			}
		}
		meta := metav1.ObjectMeta{Namespace: namespace, Name: user + "-" + strings.ToLower(role.Kind)}
		_, err := roles.Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules},
			metav1.CreateOptions{})
		_, bindErr := roles.RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		}, metav1.CreateOptions{})
		if err := errors.Join(err, bindErr); err != nil {
			t.Fatal(err)
		}
	}
	config := credentials.Config()
	t.Cleanup(func() {
		if transport, err := rest.TransportFor(config); err == nil {
			utilnet.CloseIdleConnectionsFor(transport)
		}
	})

	return config
}

// Each right that the shipped roles give for claims is needed, and all of them are enough.
func TestShippedRoles(t *testing.T) {
	for name, x := range map[string]struct{ resource, verb string }{
		"all": {}, "create": {"leases", "create"}, "get": {"leases", "get"}, "update": {"leases", "update"},
		"delete": {"leases", "delete"}, "list": {"leases", "list"}, "watch": {"leases", "watch"}, "pods": {"pods", "get"},
	} {
		t.Run(name, func(t *testing.T) {
			own, tenant := newNamespace(t), newNamespace(t)
			config := shipped(t, own, tenant, "claims-without-"+name, x.resource, x.verb)
			administrator := follow(t, own, func(c *Config) { c.Namespaces = []string{tenant} })
			r := begin(t, own, func(c *Config) {
				c.REST, c.Namespaces, c.Pods = rest.CopyConfig(config), []string{tenant}, true
			})
			if x.verb == "list" || x.verb == "watch" {
				until(t, "it says what it may not", func() bool {
					err := r.Followed()

					return err != nil && strings.Contains(err.Error(), "forbidden") &&
						strings.Contains(err.Error(), "bind the role nagi-manager")
				})

				return
			}
			until(t, "claims are followed", func() bool { return r.Followed() == nil })
			a, heir := podWith(t, tenant, "a", corev1.PodRunning, corev1.ConditionFalse), Holder{"heir", "2"}
			administrator.claim(t, tenant, "taken", Holder{"gone", "uid"}, &heard{})
			administrator.claim(t, tenant, "mine", heir, &heard{})
			until(t, "it knows of them", func() bool { return r.owner("mine") == heir && r.owner("taken").Name == "gone" })

			_, _, claimed := r.Claim(t.Context(), tenant, Opening{"new", 1}, a, &heard{}, anybody)
			taken, _, takeover := r.Claim(t.Context(), tenant, Opening{"taken", 1}, heir, &heard{silence: time.Second}, anybody)
			_, _, again := r.Claim(t.Context(), tenant, Opening{"mine", 1}, heir, &heard{}, anybody)
			released := r.Release(t.Context(), tenant, opened(1, "mine"), heir)
			for what, y := range map[string]struct {
				err  error
				need []string // the rights that it needs
			}{
				"to claim": {claimed, []string{"create"}}, "to take over": {takeover, []string{"update"}},
				"to claim again": {again, []string{"update"}}, "to release": {released, []string{"get", "delete"}},
			} {
				if denied := slices.Contains(y.need, x.verb) &&
					x.resource == "leases"; denied != errors.Is(y.err, ErrUnanswerable) || !denied && y.err != nil {
					t.Errorf("%s: %v", what, y.err)
				}
			}
			if x.verb != "update" && (taken == heir) != (x.resource != "pods") {
				t.Errorf("%v has what was of a pod that is gone", taken)
			}
		})
	}
}
