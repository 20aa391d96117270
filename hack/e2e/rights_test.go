package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// role is what one user may do: the rules of roles that we ship, in one ClusterRole of
// its own, so that a test can take some away.
type role struct {
	user  string
	rules []rbacv1.PolicyRule
}

// shippedRole reads the rules of the roles in a file of config/rbac, such as
// shim/role.yaml.
func shippedRole(file, user string) (*role, error) {
	r := &role{user: user}
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", filepath.FromSlash(file)))
	if err != nil {
		return nil, fmt.Errorf("read the roles that we ship: %w", err)
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var shipped rbacv1.ClusterRole // A Role has the same rules.
		if err := yaml.Unmarshal([]byte(document), &shipped); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		r.rules = append(r.rules, shipped.Rules...)
	}

	return r, nil
}

// without returns the role without the rules about a resource.
func (r role) without(resource string) role {
	r.rules = slices.DeleteFunc(slices.Clone(r.rules), func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.Resources, resource)
	})

	return r
}

// grant lets the user do what the role says, and no longer what it said before.
func (s *system) grant(ctx context.Context, r role) error {
	meta := metav1.ObjectMeta{Name: "e2e-" + r.user}
	objects := []runtime.Object{
		&rbacv1.ClusterRole{TypeMeta: rbacType("ClusterRole"), ObjectMeta: meta, Rules: r.rules},
		&rbacv1.ClusterRoleBinding{
			TypeMeta: rbacType("ClusterRoleBinding"), ObjectMeta: meta,
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: r.user}},
		},
	}
	for _, object := range objects {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			return fmt.Errorf("make the role of %s: %w", r.user, err)
		}
		applied := client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: content})
		if err := s.api.Apply(ctx, applied, client.FieldOwner("e2e"), client.ForceOwnership); err != nil {
			return fmt.Errorf("grant %s its role: %w", r.user, err)
		}
	}

	return nil
}

func rbacType(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}

// mustGrant is grant within a test.
func (s *system) mustGrant(t *testing.T, r role) {
	t.Helper()
	if err := s.grant(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}
