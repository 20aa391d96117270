package crd_test

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/config/crd"
)

// What programs install is the CRD of the types that they are built with.
func TestEmbeddedCRDIsOfTheTypes(t *testing.T) {
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(crd.RtpStreamPauses, &definition); err != nil {
		t.Fatal(err)
	}
	if want := v1alpha1.Resource(v1alpha1.Plural).String(); definition.Name != want {
		t.Errorf("it defines %s, want %s", definition.Name, want)
	}
	if len(definition.Spec.Versions) != 1 || definition.Spec.Versions[0].Name != v1alpha1.GroupVersion.Version {
		t.Errorf("its versions are %+v, want %s alone", definition.Spec.Versions, v1alpha1.GroupVersion.Version)
	}
	if fields := definition.Spec.Versions[0].SelectableFields; len(fields) != 1 ||
		fields[0].JSONPath != ".spec.channelID" {
		t.Errorf("its selectable fields are %+v, want .spec.channelID alone", fields)
	}
}
