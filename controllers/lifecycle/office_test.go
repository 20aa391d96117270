package lifecycle_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/lifecycle"
)

func gone(t *testing.T, o *v1alpha1.RtpStreamPause) func() bool {
	return func() bool {
		return apierrors.IsNotFound(k8s.Get(t.Context(), client.ObjectKeyFromObject(o), &v1alpha1.RtpStreamPause{}))
	}
}

func TestStolenLeaseIsWonBackWhileServingGoesOn(t *testing.T) {
	ns := namespace(t)
	r := startReplica(t, ns)
	m := dial(t, r.address, ns, "ms")
	m.report("R", "S")
	m.complete()
	eventually(t, "in office", func() bool { return r.counted(t, "nagi_manager_in_office") == 1 })

	lease := types.NamespacedName{Namespace: ns, Name: lifecycle.LeaseName}
	eventually(t, "the lease is stolen", func() bool {
		var l coordinationv1.Lease
		if err := k8s.Get(t.Context(), lease, &l); err != nil {
			t.Fatal(err)
		}
		thief, now := "thief", metav1.NowMicro()
		l.Spec.HolderIdentity, l.Spec.RenewTime, l.Spec.AcquireTime = &thief, &now, &now

		return k8s.Update(t.Context(), &l) == nil
	})
	eventually(t, "out of office", func() bool { return r.counted(t, "nagi_manager_in_office") == 0 })
	// Nobody writes, and the pause acts.
	o := pauseIn(t, ns, "meanwhile", nil)
	m.acknowledge(m.table("the pause", holds(string(o.UID))))
	waitReason(t, o, v1alpha1.ReasonEnforced)
	if r.counted(t, "nagi_manager_in_office") != 1 {
		t.Error("the status was written out of office")
	}
}

func TestOneOfTwoWritesAndOnlyChanges(t *testing.T) {
	ns := namespace(t)
	first := startReplica(t, ns)
	eventually(t, "the first is in office", func() bool { return first.counted(t, "nagi_manager_in_office") == 1 })
	second := startReplica(t, ns)
	replicas := []*mediaServer{dial(t, first.address, ns, "ms"), dial(t, second.address, ns, "ms")}
	o := pauseIn(t, ns, "edge", nil)
	for _, m := range replicas {
		m.report("R", "S")
		m.complete()
		m.acknowledge(m.table("the pause", holds(string(o.UID))))
	}
	version := waitReason(t, o, v1alpha1.ReasonEnforced).ResourceVersion
	writes := first.counted(t, "nagi_pause_status_writes_total")

	// Others join and leave; a pause created after them has its status, so theirs
	// would have been written.
	for i := range 20 {
		for _, m := range replicas {
			m.report("R", "S", fmt.Sprintf("bystander-%d", i))
		}
	}
	x := "X"
	last := pauseIn(t, ns, "last", func(s *v1alpha1.RtpStreamPauseSpec) { s.SendConnectionID = &x })
	waitReason(t, last, v1alpha1.ReasonArmed)
	var now v1alpha1.RtpStreamPause
	if err := k8s.Get(t.Context(), client.ObjectKeyFromObject(o), &now); err != nil {
		t.Fatal(err)
	}
	if now.ResourceVersion != version {
		t.Errorf("written without a change: %+v", now.Status)
	}
	if more := first.counted(t, "nagi_pause_status_writes_total") - writes; more < 1 || more > 2 {
		t.Errorf("%v writes for the last pause", more)
	}
	if second.counted(t, "nagi_pause_status_writes_total") != 0 {
		t.Error("the replica out of office wrote")
	}
}

func TestConnectionsOfAVanishedMediaServerCountAsGone(t *testing.T) {
	ns := namespace(t)
	r := startReplica(t, ns)
	m := dial(t, r.address, ns, "ms")
	m.report("R", "S")
	m.complete()
	kept := pauseIn(t, ns, "kept", nil)
	brief := pauseIn(t, ns, "brief", func(s *v1alpha1.RtpStreamPauseSpec) {
		s.DeleteAfterDisconnect = &metav1.Duration{Duration: time.Second}
	})
	m.acknowledge(m.table("both", func(table *forwardingv1.Table) bool { return len(table.GetPauses()) == 2 }))
	waitReason(t, brief, v1alpha1.ReasonEnforced)
	waitReason(t, kept, v1alpha1.ReasonEnforced)
	lost := time.Now()
	m.close()
	eventually(t, "the pause is deleted", gone(t, brief))
	if took := time.Since(lost); took < 4*time.Second {
		t.Errorf("deleted after %s: silence was taken for a departure", took)
	}
	dated := func() *metav1.Time {
		var o v1alpha1.RtpStreamPause
		if err := k8s.Get(t.Context(), client.ObjectKeyFromObject(kept), &o); err != nil {
			t.Fatal(err)
		}

		return o.Status.DisconnectedAt
	}
	eventually(t, "disconnectedAt is kept", func() bool { return dated() != nil })
	before := dated()
	r.stop()
	again := startReplica(t, ns)
	eventually(t, "in office", func() bool { return again.counted(t, "nagi_manager_in_office") == 1 })
	after := pauseIn(t, ns, "after", nil)
	waitReason(t, after, v1alpha1.ReasonArmed)
	if now := dated(); now == nil || !now.Equal(before) {
		t.Errorf("disconnectedAt was %v and is %v after a restart", before, now)
	}
}

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
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "manager-" + map[string]string{"Role": "lease", "ClusterRole": "pauses"}[kind]},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role.GetName()}, Subjects: subject,
		}
		if err := k8s.Create(t.Context(), binding); err != nil {
			t.Fatal(err)
		}
	}
	r := startReplicaAs(t, user.Config(), ns)
	m := dial(t, r.address, ns, "ms")
	m.report("R", "S")
	m.complete()
	o := pauseIn(t, ns, "edge", func(s *v1alpha1.RtpStreamPauseSpec) {
		s.DeleteAfterDisconnect = &metav1.Duration{Duration: 0}
	})
	m.acknowledge(m.table("the pause", holds(string(o.UID))))
	waitReason(t, o, v1alpha1.ReasonEnforced)
	m.report("R")
	eventually(t, "the pause is deleted", gone(t, o))
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
