package e2e

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// newPause is an object that is not created yet.
func newPause(name string, spec v1alpha1.RtpStreamPauseSpec) *v1alpha1.RtpStreamPause {
	return &v1alpha1.RtpStreamPause{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
}

// createPause creates an object, which is deleted when the test ends.
func createPause(t *testing.T, name string, spec v1alpha1.RtpStreamPauseSpec) *v1alpha1.RtpStreamPause {
	t.Helper()
	pause := newPause(name, spec)
	if err := running.api.Create(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(running.api.Delete(context.WithoutCancel(t.Context()), pause)); err != nil {
			t.Error(err)
		}
	})
	return pause
}

func deletePause(t *testing.T, pause *v1alpha1.RtpStreamPause) {
	t.Helper()
	if err := running.api.Delete(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
}

// waitEnforced returns what the media server acknowledged.
func waitEnforced(t *testing.T, uid types.UID) *forwardingv1.WaitEnforcedResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	enforced, err := running.view.WaitEnforced(ctx, &forwardingv1.WaitEnforcedRequest{Namespace: namespace, Uid: string(uid)})
	if err != nil {
		t.Fatalf("wait until %s is enforced: %v", uid, err)
	}
	return enforced
}

// awaitReady waits until the object's Ready condition is True for its current
// generation, with that reason.
func awaitReady(t *testing.T, pause *v1alpha1.RtpStreamPause, reason string) *v1alpha1.RtpStreamPause {
	t.Helper()
	return await(t, "Ready, reason "+reason, func() (*v1alpha1.RtpStreamPause, bool) {
		now := &v1alpha1.RtpStreamPause{}
		if err := running.api.Get(t.Context(), client.ObjectKeyFromObject(pause), now); err != nil {
			t.Fatal(err)
		}
		ready := meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionReady)
		return now, ready != nil && ready.Status == metav1.ConditionTrue && ready.Reason == reason &&
			ready.ObservedGeneration == now.Generation && now.Status.ObservedGeneration == now.Generation
	})
}

// awaitGone waits until the object does not exist.
func awaitGone(t *testing.T, pause *v1alpha1.RtpStreamPause) {
	t.Helper()
	await(t, "the object's deletion", func() (v1alpha1.RtpStreamPauseStatus, bool) {
		now := &v1alpha1.RtpStreamPause{}
		err := running.api.Get(t.Context(), client.ObjectKeyFromObject(pause), now)
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		return now.Status, err != nil
	})
}

// pausesOf lists the objects of a channel.
func pausesOf(t *testing.T, channel string) []v1alpha1.RtpStreamPause {
	t.Helper()
	list := &v1alpha1.RtpStreamPauseList{}
	err := running.api.List(t.Context(), list, client.InNamespace(namespace), client.MatchingFields{"spec.channelID": channel})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}
