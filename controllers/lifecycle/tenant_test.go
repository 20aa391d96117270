package lifecycle_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// tenants are what is known of several namespaces.
type tenants map[string]*acting

func (k tenants) Known() error {
	for _, a := range k {
		if err := a.Known(); err != nil {
			return err
		}
	}

	return nil
}

func (k tenants) Watch(enqueue func(types.NamespacedName, bool)) func() {
	var stops []func()
	for _, a := range k {
		stops = append(stops, a.Watch(enqueue))
	}

	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

func (k tenants) Pause(name types.NamespacedName) *held.Pause { return k[name.Namespace].Pause(name) }

func (k tenants) Judge(pause *held.Pause, inOffice, now time.Time) knowledge.Verdict {
	return k[pause.Namespace].Judge(pause, inOffice, now)
}

func (k tenants) Departure(pause *held.Pause, inOffice, now time.Time) (left, again time.Time) {
	return k[pause.Namespace].Departure(pause, inOffice, now)
}

func (k tenants) Streaming(string) int { return 1 }

// A namespace whose admission webhook is not there costs the others nothing: their
// statuses are written, and the office is not given up.
func TestANamespaceWhoseWebhookFailsCostsOthersNothing(t *testing.T) {
	rogue, other := namespace(t), namespace(t)
	everywhere, nowhere := admissionv1.NamespacedScope, "https://127.0.0.1:1/"
	fail, none := admissionv1.Fail, admissionv1.SideEffectClassNone
	webhook := &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: rogue},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "status.rogue.example", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionv1.WebhookClientConfig{URL: &nowhere},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": rogue}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Update},
				Rule: admissionv1.Rule{
					APIGroups: []string{v1alpha1.GroupVersion.Group}, APIVersions: []string{"*"},
					Resources: []string{v1alpha1.Plural + "/status"}, Scope: &everywhere,
				},
			}},
		}},
	}
	if err := k8s.Create(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k8s.Delete(context.Background(), webhook) })
	known := tenants{rogue: newActing(t, rogue), other: newActing(t, other)}
	var waiting []*v1alpha1.RtpStreamPause
	for n := range 100 {
		waiting = append(waiting, pauseIn(t, rogue, fmt.Sprint(n), nil))
	}
	first := pauseIn(t, other, "first", nil)
	elected := time.Now()
	e := elect(t, plane.Config, known, other)
	waitReason(t, first, v1alpha1.ReasonArmed)
	for n, began := 0, time.Now(); time.Since(began) < 3*giveUpAfter; n++ {
		waitReason(t, pauseIn(t, other, fmt.Sprint(n), nil), v1alpha1.ReasonArmed)
	}
	// As many as there are workers at once, six until the rest is two seconds long, then
	// one after each.
	most := 16 + 6 + time.Since(elected)/(2*time.Second) + 1
	if failed := e.counted(t, "nagi_pause_write_failures_total"); failed < 5 || failed > float64(most) {
		t.Errorf("%v writes failed in the namespace, want at most %d", failed, most)
	}
	if count := e.counted(t, "nagi_manager_gave_up_total"); count != 0 || !e.inOffice(t) {
		t.Errorf("the office was given up %v times: %v", count, e.GaveUp())
	}
	if err := k8s.Delete(t.Context(), webhook); err != nil {
		t.Fatal(err)
	}
	for _, o := range waiting {
		waitReason(t, o, v1alpha1.ReasonArmed)
	}
}
