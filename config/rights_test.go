package config

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// right is one thing that a role permits.
type right struct {
	group, resource, name, verb string
}

// roles are the rights of the roles that lie in rbac for a program: those that act in
// its tenants' namespaces, and those that act in its own.
func roles(t *testing.T, program string) (tenant, own []right) {
	t.Helper()
	content, err := os.ReadFile("rbac/" + program + "/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(content), "\n---\n") {
		var role rbacv1.ClusterRole // A Role has the same rules.
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatal(err)
		}
		switch {
		case role.Name != "nagi-"+program:
		case role.Kind == "Role":
			own = append(own, rightsOf(role.Rules)...)
		default:
			tenant = append(tenant, rightsOf(role.Rules)...)
		}
	}

	return tenant, own
}

func rightsOf(rules []rbacv1.PolicyRule) []right {
	var rights []right
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, name := range names {
						rights = append(rights, right{group, resource, name, verb})
					}
				}
			}
		}
	}

	return rights
}

// judgeRights asks the API server what the programs may do: all that their roles say
// in the tenants' namespaces, a media server's in its own alone, and in their own, and
// nothing in anybody else's.
func judgeRights(t *testing.T) {
	t.Helper()
	all := workloads(t)
	var tenants []string
	for _, w := range all {
		if w.name == "nagi-mediaserver" {
			tenants = append(tenants, w.namespace)
		}
	}
	for _, w := range all {
		account := "system:serviceaccount:" + w.namespace + ":" + w.pod.Spec.ServiceAccountName
		tenant, own := roles(t, strings.TrimPrefix(w.name, "nagi-"))
		if len(tenant) == 0 {
			t.Errorf("%s has no role", w.name)
		}
		for _, namespace := range append(tenants, judged) {
			acts := namespace != judged && (w.name != "nagi-mediaserver" || namespace == w.namespace)
			for _, r := range tenant {
				awaitAnswer(t, account, namespace, r, acts)
			}
		}
		for _, r := range own {
			awaitAnswer(t, account, w.namespace, r, true)
			if !slices.Contains(tenant, r) && !slices.Contains(tenants, w.namespace) {
				awaitAnswer(t, account, tenants[0], r, false)
			}
		}
	}
}

// awaitAnswer waits until the API server, which learns of roles and bindings a little
// later, says of a right what is wanted.
func awaitAnswer(t *testing.T, account, namespace string, r right, want bool) {
	t.Helper()
	resource, subresource, _ := strings.Cut(r.resource, "/")
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Group: r.group, Resource: resource, Subresource: subresource, Name: r.name, Verb: r.verb,
		},
	}}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		answer, err := clients.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status.Allowed == want {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s may %+v in %s: %t, want %t", account, r, namespace, answer.Status.Allowed, want)

			return
		}
	}
}
