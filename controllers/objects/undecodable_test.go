package objects

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

func TestOneObjectThatDoesNotDecodeIsLeftOutAlone(t *testing.T) {
	namespace := newNamespace(t)
	create(t, namespace, "good")
	create(t, namespace, "turns")
	storeAnything(t, func() {
		storeBad(t, namespace, "bad", false)
	})
	s := follow(t, Config{Namespace: namespace})
	s.ready()
	if !s.tells("good") || s.tells("bad") || s.Get("bad") != nil {
		t.Errorf("told %v", s.told())
	}
	if u := s.Undecodable(); len(u) != 1 || u[0].Name != "bad" || u[0].UID == "" || u[0].Err == nil {
		t.Errorf("undecodable: %v", u)
	}
	if s.value("nagi_objects_undecodable") != 1 || s.value("nagi_objects_undecodable_info", "name=bad") != 1 {
		t.Error("no metric names the object")
	}
	// The watch ends whenever the CRD changes; what is here comes by list or by event.
	storeAnything(t, func() {
		s.until("the store follows the laxer CRD", func() bool { return s.Ready() == nil })
		storeBad(t, namespace, "turns", true)
		s.until("the object that stopped decoding is gone", func() bool { return !s.tells("turns") && s.Get("turns") == nil })
		if len(s.Undecodable()) != 2 {
			t.Errorf("undecodable: %v", s.Undecodable())
		}
	})
	s.ready()
	create(t, namespace, "new")
	s.until("a new pause is told beside them", func() bool { return s.tells("new") })
	if err := s.Confirm(t.Context(), collectionVersion(t, namespace)); err != nil {
		t.Errorf("Confirm counts otherwise: %v", err)
	}

	mended := pauseOf(namespace, "turns", "lobby")
	var stored unstructured.Unstructured
	stored.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RtpStreamPause"))
	if err := k8s.Get(t.Context(), client.ObjectKeyFromObject(mended), &stored); err != nil {
		t.Fatal(err)
	}
	mended.ResourceVersion = stored.GetResourceVersion()
	if err := k8s.Update(t.Context(), mended); err != nil {
		t.Fatal(err)
	}
	s.until("the mended one is told again", func() bool { return s.tells("turns") })
	remove(t, pauseOf(namespace, "bad", "lobby"))
	s.until("nothing is undecodable", func() bool { return len(s.Undecodable()) == 0 })
	for _, name := range []string{"bad", "turns"} {
		if n := strings.Count(s.log.String(),
			"does not decode and does not act; mend or delete it\" namespace="+namespace+" name="+name+" "); n != 1 {
			t.Errorf("%s was logged %d times", name, n)
		}
	}
	if !s.equalsEtcd() {
		t.Error("the store differs from etcd")
	}
}

// storeAnything makes the CRD accept anything in spec while do runs, as an older or
// newer CRD may have.
func storeAnything(t *testing.T, do func()) {
	t.Helper()
	strict := setSchema(t, func(schema *apiextensionsv1.JSONSchemaProps) {
		spec := schema.Properties["spec"]
		preserve := true
		schema.XValidations = nil
		schema.Properties["spec"] = apiextensionsv1.JSONSchemaProps{
			Type: "object", XPreserveUnknownFields: &preserve,
			Properties: map[string]apiextensionsv1.JSONSchemaProps{"channelID": spec.Properties["channelID"]},
		}
	})
	do()
	setSchema(t, func(schema *apiextensionsv1.JSONSchemaProps) { *schema = *strict })
}

func setSchema(t *testing.T, set func(*apiextensionsv1.JSONSchemaProps)) (before *apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	until(t, "the CRD is changed", func() bool {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := k8s.Get(context.Background(), client.ObjectKey{Name: "rtpstreampauses.rtp.nagi.dev"}, &crd); err != nil {
			t.Fatal(err)
		}
		before = crd.Spec.Versions[0].Schema.OpenAPIV3Schema.DeepCopy()
		set(crd.Spec.Versions[0].Schema.OpenAPIV3Schema)

		return k8s.Update(context.Background(), &crd) == nil
	})

	return before
}

// storeBad stores a pause that this build cannot read.
func storeBad(t *testing.T, namespace, name string, exists bool) {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "RtpStreamPause",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{
			"channelID": "lobby", "expiresAt": "tomorrow",
			"receivers": map[string]any{"clientIDs": []string{"bob"}}, "senders": map[string]any{"everyone": map[string]any{}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the laxer CRD takes "+name, func() bool {
		bad := new(unstructured.Unstructured)
		if err := bad.UnmarshalJSON(raw); err != nil {
			t.Fatal(err)
		}
		if !exists {
			return k8s.Create(context.Background(), bad) == nil
		}

		return k8s.Patch(context.Background(), bad, client.RawPatch("application/merge-patch+json", raw)) == nil
	})
}
