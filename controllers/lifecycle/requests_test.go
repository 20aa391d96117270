package lifecycle_test

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// Who cannot have the lease says so, and why, until it can.
func TestWhoCannotHaveTheLeaseSaysSo(t *testing.T) {
	ns := namespace(t)
	pauses := rbacv1.PolicyRule{
		APIGroups: []string{v1alpha1.GroupVersion.Group},
		Resources: []string{v1alpha1.Plural + "/status"},
		Verbs:     []string{"patch"},
	}
	reads := leases
	reads.Verbs = []string{"get"}
	api := roleOf(t, ns, pauses)
	known := newActing(t, ns)
	e := elect(t, api, known, ns)
	if err := e.Unelectable(); err != nil || e.counted(t, "nagi_manager_unelectable") != 0 {
		t.Errorf("at first: %v", err)
	}
	says := func(e *elected, words string) {
		t.Helper()
		eventually(t, "says "+words, func() bool {
			err := e.Unelectable()

			return err != nil && strings.Contains(err.Error(), words) && e.counted(t, "nagi_manager_unelectable") == 1
		})
	}
	says(e, "bind the role nagi-manager to the manager's ServiceAccount in --lease-namespace="+ns)
	says(e, `cannot get resource "leases"`)
	may := func(rules ...rbacv1.PolicyRule) {
		t.Helper()
		if err := k8s.Update(t.Context(), &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "some"}, Rules: rules,
		}); err != nil {
			t.Fatal(err)
		}
	}
	may(pauses, reads)
	says(e, `cannot create resource "leases"`)
	may(pauses, leases)
	eventually(t, "in office", func() bool { return e.inOffice(t) })
	if err := e.Unelectable(); err != nil || e.counted(t, "nagi_manager_unelectable") != 0 {
		t.Errorf("in office: %v", err)
	}
	waitReason(t, pauseIn(t, ns, "pause", nil), v1alpha1.ReasonArmed)
	may(pauses, reads)
	says(e, `cannot update resource "leases"`)

	lost := elect(t, plane.Config, known, "no-such-namespace")
	says(lost, "--lease-namespace=no-such-namespace is to name a namespace that there is")
}
