package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// TestUndecodable stores an object that does not decode, as a CRD of another
// version or a restored backup can leave one, and proves that it alone is left out.
func TestUndecodable(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 2, shims: 1, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	pause, held := m.enforced(t, m.channel, m.paused())
	broken := m.channel + "-broken"
	s.storeBroken(t, broken, m.channel)

	for _, manager := range s.managers {
		text := await(t, manager.name+" to name the object in /readyz", func() (string, bool) {
			status, text := manager.ask(t, "/readyz")

			return text, status == http.StatusOK && contains(text, broken)
		})
		t.Logf("%s: %s", manager.name, text)
		if n := manager.metric(t, "nagi_objects_undecodable"); n != 1 {
			t.Errorf("%s counts %v objects that do not decode", manager.name, n)
		}
		if n := manager.metric(t, "nagi_objects_undecodable_info", `name="`+broken+`"`); n != 1 {
			t.Errorf("%s: no metric names the object", manager.name)
		}
		if !contains(manager.wrote(t), broken) {
			t.Errorf("%s: the log does not name the object", manager.name)
		}
	}

	// All others act: objects, and the shim's too, both ways.
	other := m.watchEdge(t, edge{m.carol, m.bob}, edge{m.bob, m.alice}, bot.Video)
	fresh, _ := other.pausedNow(t, m.channel+"-fresh")
	s.awaitReady(t, fresh, v1alpha1.ReasonEnforced)
	s.shims[0].expectList(t, m.channel, held.edge, other.edge)
	s.deletePause(t, fresh)
	other.proveResumed(t)
	other = m.watchEdge(t, other.edge, other.reference, bot.Video)
	s.shims[0].mustPost(t, pauseTarget, edgeBody(m.channel, m.carol, m.bob))
	other.findCut(t)
	s.shims[0].mustPost(t, resumeTarget, edgeBody(m.channel, m.carol, m.bob))
	other.proveResumed(t)
	held.proveSilence(t)

	// A manager that begins with it there serves the others.
	s.managers[0].kill()
	if err := s.startManager(t.Context(), s.managers[0]); err != nil {
		t.Fatal(err)
	}
	s.managers[0].awaitReady(t)
	s.shims[0].expectList(t, m.channel, held.edge)
	held.proveSilence(t)
	s.deletePause(t, pause)
	held.proveResumed(t)
}

// storeBroken stores an object with an expiry that is no time, for which the CRD
// is loosened for a moment.
func (s *system) storeBroken(t *testing.T, name, channel string) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{
		Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition",
	})
	key := client.ObjectKey{Name: "rtpstreampauses." + v1alpha1.GroupVersion.Group}
	change := func(edit func(spec map[string]any)) {
		t.Helper()
		if err := s.api.Get(t.Context(), key, crd); err != nil {
			t.Fatal(err)
		}
		versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
		if err != nil {
			t.Fatal(err)
		}
		edit(versions[0].(map[string]any))
		if err := unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"); err != nil {
			t.Fatal(err)
		}
		if err := s.api.Update(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
	}
	var strict map[string]any
	change(func(version map[string]any) {
		strict = version["schema"].(map[string]any)
		version["schema"] = map[string]any{"openAPIV3Schema": map[string]any{
			"type": "object", "x-kubernetes-preserve-unknown-fields": true,
			"properties": map[string]any{"spec": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true,
				"properties": map[string]any{"channelID": map[string]any{"type": "string"}}}},
		}}
	})
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"channelID": channel, "expiresAt": "tomorrow",
		"receivers": map[string]any{"clientIDs": []any{"carol"}}, "senders": map[string]any{"clientIDs": []any{"bob"}},
	}}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RtpStreamPause"))
	object.SetNamespace(namespace)
	object.SetName(name)
	await(t, "the API server to take the object", func() (string, bool) {
		err := s.api.Create(t.Context(), object.DeepCopy())
		if status := apierrors.APIStatus(nil); err != nil && !errors.As(err, &status) {
			t.Fatal(err)
		}

		return fmt.Sprint(err), err == nil
	})
	change(func(version map[string]any) { version["schema"] = strict })
	// Once it refuses the like, it is strict again.
	await(t, "the API server to be strict again", func() (string, bool) {
		another := object.DeepCopy()
		another.SetName(name + "-another")
		err := s.api.Create(t.Context(), another, client.DryRunAll)

		return fmt.Sprint(err), apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
	})
}
