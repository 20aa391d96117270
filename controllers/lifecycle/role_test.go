package lifecycle_test

import (
	"os"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// The shipped role, bound in a tenant's namespace, is all that a manager needs.
func TestManagerRunsUnderItsRole(t *testing.T) {
	ns := namespace(t)
	user, err := plane.Environment.AddUser(envtest.User{Name: "manager-of-" + ns}, nil)
	if err != nil {
		t.Fatal(err)
	}
	subject := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "manager-of-" + ns}}
	for _, role := range shippedRoles(t) {
		kind := role.GetObjectKind().GroupVersionKind().Kind
		if kind == "Role" {
			role.SetNamespace(ns)
		}
		role.SetName(role.GetName() + "-" + ns)
		if err := k8s.Create(t.Context(), role); err != nil {
			t.Fatal(err)
		}
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: ns, Name: "manager-" + map[string]string{"Role": "lease", "ClusterRole": "pauses"}[kind],
			},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role.GetName()}, Subjects: subject,
		}
		if err := k8s.Create(t.Context(), binding); err != nil {
			t.Fatal(err)
		}
	}
	known, e := startReplica(t, user.Config(), ns)
	m := connect(t, known, ns, "ms")
	m.report("R", "S")
	m.complete()
	seconds := int64(1)
	o := pauseIn(t, ns, "edge", func(o *v1alpha1.RtpStreamPause) { o.Spec.DeleteAfterDisconnectSeconds = &seconds })
	m.acknowledge(matching, o)
	waitReason(t, o, v1alpha1.ReasonEnforced)
	eventually(t, "an event is written", func() bool { return len(eventsIn(t, ns)) > 0 })
	m.report("R")
	m.acknowledge(notMatching, o)
	eventually(t, "the pause is deleted", gone(t, o))
	if failures := e.counted(t, "nagi_pause_write_failures_total"); failures != 0 {
		t.Errorf("%v writes failed", failures)
	}
}

func shippedRoles(t *testing.T) []client.Object {
	t.Helper()
	content, err := os.ReadFile("../../config/rbac/manager/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var roles []client.Object
	for _, document := range strings.Split(strings.TrimPrefix(string(content), "---\n"), "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Fatal(err)
		}
		var role client.Object = &rbacv1.ClusterRole{}
		if kind.Kind == "Role" {
			role = &rbacv1.Role{}
		}
		if err := yaml.UnmarshalStrict([]byte(document), role); err != nil {
			t.Fatal(err)
		}
		roles = append(roles, role)
	}
	if len(roles) != 2 {
		t.Fatalf("%d roles", len(roles))
	}

	return roles
}
