package sora

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// shippedPolicy installs config/components/requested-by until the end of the test.
func shippedPolicy(t *testing.T) {
	t.Helper()
	var policy admissionv1.ValidatingAdmissionPolicy
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	for file, object := range map[string]any{"policy.yaml": &policy, "policy_binding.yaml": &binding} {
		content, err := os.ReadFile(filepath.Join(config, "components/requested-by", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(content, object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	policies := clientset(t).AdmissionregistrationV1()
	stored, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), &policy, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bindings := policies.ValidatingAdmissionPolicyBindings()
	if _, err := bindings.Create(t.Context(), &binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := bindings.Delete(ctx, binding.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := policies.ValidatingAdmissionPolicies().Delete(ctx, policy.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	if stored.Spec.FailurePolicy == nil || *stored.Spec.FailurePolicy != admissionv1.Fail {
		t.Error("the policy lets everything pass when it fails")
	}
}

// TestRequestedByPolicy: with the optional policy nobody but the shim names another than
// themselves, nor leaves another's name on what they say instead.
func TestRequestedByPolicy(t *testing.T) {
	shippedPolicy(t)
	as := func(user string) client.Client {
		config := rest.CopyConfig(apiServer(t).Config)
		config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}

		return newClient(t, config)
	}
	alex, shimUser := as("alex"), as("system:serviceaccount:nagi-system:nagi-shim")
	made := func(name, by string) *v1alpha1.RtpStreamPause {
		pause := &v1alpha1.RtpStreamPause{Spec: of(t.Name(), nil)}
		pause.Namespace, pause.Name = "default", name
		setRequestedBy(pause, by)

		return pause
	}
	names := func(by string) func(*v1alpha1.RtpStreamPause) {
		return func(p *v1alpha1.RtpStreamPause) { setRequestedBy(p, by) }
	}
	says := func(p *v1alpha1.RtpStreamPause) { p.Spec.Reason = "new" }
	both := func(changes ...func(*v1alpha1.RtpStreamPause)) func(*v1alpha1.RtpStreamPause) {
		return func(p *v1alpha1.RtpStreamPause) {
			for _, change := range changes {
				change(p)
			}
		}
	}
	labels := map[string]string{"a": "b"}
	otherShim := as("system:serviceaccount:elsewhere:nagi-shim")
	settled(t, "the policy to be in force", func() bool {
		err := alex.Create(t.Context(), made("forged", "somebody-else"), client.DryRunAll)
		if err != nil && !apierrors.IsForbidden(err) {
			t.Fatal(err)
		}

		return err != nil
	})
	s := &shim{t: t, objects: shimUser}
	proveOtherWays(t, s, alex, made)
	for name, test := range map[string]struct {
		// before is whom the object names that is there; "-": there is none.
		user   client.Client
		before string
		change func(*v1alpha1.RtpStreamPause)
		passes bool
	}{
		"made, names nobody":             {alex, "-", nil, true},
		"made, names oneself":            {alex, "-", names("alex"), true},
		"made, names another":            {alex, "-", names("kim"), false},
		"made by another shim":           {otherShim, "-", names("kim"), false},
		"made by the shim":               {shimUser, "-", names("kim"), true},
		"labels of another's":            {alex, "kim", func(p *v1alpha1.RtpStreamPause) { p.Labels = labels }, true},
		"finalizers of another's":        {alex, "kim", func(p *v1alpha1.RtpStreamPause) { p.Finalizers = nil }, true},
		"spec of another's":              {alex, "kim", says, false},
		"spec of another's, named off":   {alex, "kim", both(says, names("")), true},
		"spec of another's, taken over":  {alex, "kim", both(says, names("alex")), true},
		"spec of one's own":              {alex, "alex", says, true},
		"another named instead":          {alex, "kim", names("lee"), false},
		"another named where nobody was": {alex, "", names("lee"), false},
		"named off":                      {alex, "kim", names(""), true},
		"edited by the shim":             {shimUser, "kim", both(says, names("lee")), true},
	} {
		t.Run(name, func(t *testing.T) {
			pause := made("requested-by", "")
			var err error
			if test.before == "-" {
				if test.change != nil {
					test.change(pause)
				}
				err = test.user.Create(t.Context(), pause, client.DryRunAll)
			} else {
				s.t = t
				stored := made("requested-by", test.before)
				stored.Finalizers = []string{"example.org/hold"}
				stored = s.store(stored)
				defer func() {
					let := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
					if err := s.objects.Patch(t.Context(), stored, let); err != nil {
						t.Error(err)
					}
				}()
				edited := stored.DeepCopy()
				test.change(edited)
				err = test.user.Update(t.Context(), edited, client.DryRunAll)
			}
			if (err == nil) != test.passes || err != nil && !apierrors.IsForbidden(err) {
				t.Errorf("%v", err)
			}
		})
	}
}

// proveOtherWays: nor do patches, server-side apply and status name another.
func proveOtherWays(t *testing.T, s *shim, alex client.Client, made func(name, by string) *v1alpha1.RtpStreamPause) {
	t.Helper()
	forged := []byte(`{"apiVersion":"rtp.nagi.dev/v1alpha1","kind":"RtpStreamPause","metadata":{"annotations":{"` +
		v1alpha1.RequestedByAnnotation + `":"kim"}}}`)
	absent, stored := made("applied", "kim"), s.store(made("other-ways", "alex"))
	absent.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RtpStreamPause"))
	whole, err := json.Marshal(absent)
	if err != nil {
		t.Fatal(err)
	}
	apply := []client.PatchOption{client.FieldOwner("alex"), client.ForceOwnership}
	for name, err := range map[string]error{
		"applied":       alex.Patch(t.Context(), stored.DeepCopy(), client.RawPatch(types.ApplyPatchType, forged), apply...),
		"made by apply": alex.Patch(t.Context(), absent, client.RawPatch(types.ApplyPatchType, whole), apply...),
		"merge patch":   alex.Patch(t.Context(), stored.DeepCopy(), client.RawPatch(types.MergePatchType, forged)),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := alex.Status().Patch(t.Context(), stored.DeepCopy(),
		client.RawPatch(types.MergePatchType, forged)); err != nil {
		t.Error(err)
	}
	if err := alex.Get(t.Context(), client.ObjectKeyFromObject(stored), stored); err != nil {
		t.Fatal(err)
	}
	if by := stored.Annotations[v1alpha1.RequestedByAnnotation]; by != "alex" {
		t.Errorf("%q is named", by)
	}
}
