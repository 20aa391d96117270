package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	s.storeOdd(t, broken, map[string]any{
		"channelID": m.channel, "expiresAt": "tomorrow",
		"receivers": map[string]any{"clientIDs": []any{"carol"}}, "senders": map[string]any{"clientIDs": []any{"bob"}},
	})

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

// TestNotUnderstood stores objects whose receivers, or kinds, are named in a way that is not
// known here, as a CRD of a newer version can leave them, and proves that they pause
// nobody and say so.
func TestNotUnderstood(t *testing.T) {
	t.Parallel()
	s := own(t, layout{managers: 1, shims: 1, mediaServers: 1})
	m := s.newMeeting(t, channelOf(t))
	_, held := m.enforced(t, m.channel, m.paused())
	name := m.channel + "-newer"
	s.storeOdd(t, name, map[string]any{
		"channelID": m.channel,
		"receivers": map[string]any{"groups": []any{"pupils"}},
		"senders":   map[string]any{"everyone": map[string]any{}},
	})
	s.storeOdd(t, name+"-kind", map[string]any{
		"channelID": m.channel,
		"receivers": map[string]any{"everyone": map[string]any{}},
		"senders":   map[string]any{"clientIDs": []any{"bob"}},
		"kinds":     []any{"Video", "Screen"},
	})
	pause := newPause(name+"-kind", v1alpha1.RtpStreamPauseSpec{})
	s.awaitStatus(t, pause, metav1.ConditionFalse, v1alpha1.ReasonNotUnderstood)
	pause = newPause(name, v1alpha1.RtpStreamPauseSpec{})
	told := s.awaitStatus(t, pause, metav1.ConditionFalse, v1alpha1.ReasonNotUnderstood)
	if told.Status.ObservedGeneration != told.Generation {
		t.Errorf("the status is of generation %d, want %d", told.Status.ObservedGeneration, told.Generation)
	}
	s.shims[0].expectList(t, m.channel, held.edge)
	for _, tr := range []track{
		{edge{m.carol, m.bob}, bot.Video}, {edge{m.carol, m.alice}, bot.Video}, {m.paused(), bot.Audio},
	} {
		tr.awaitMore(t, tr.kind, 10)
	}
	await(t, "an event that tells of it", func() (string, bool) {
		events := &eventsv1.EventList{}
		if err := s.api.List(t.Context(), events, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, event := range events.Items {
			if event.Regarding.Name == name {
				told = append(told, event.Type+" "+event.Reason)
			}
		}

		return fmt.Sprint(told), slices.Contains(told, "Warning Refused")
	})

	// An edit makes it a rule like others.
	pause = s.edit(t, told, func(spec *v1alpha1.RtpStreamPauseSpec) { spec.Receivers = clients("carol") })
	s.awaitReady(t, pause, v1alpha1.ReasonEnforced)
	held.proveSilence(t)
}

// storeOdd stores an object that the CRD refuses, which is loosened for a moment.
func (s *system) storeOdd(t *testing.T, name string, spec map[string]any) {
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
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
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
