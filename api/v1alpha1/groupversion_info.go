// Package v1alpha1 holds the RtpStreamPause type of the API group rtp.nagi.dev.
// It imports nothing but apimachinery, so that any client can afford it.
//
// +kubebuilder:object:generate=true
// +groupName=rtp.nagi.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion names this version of the API.
	GroupVersion = schema.GroupVersion{Group: "rtp.nagi.dev", Version: "v1alpha1"}

	// SchemeBuilder collects what AddToScheme registers.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme registers the types of this package.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &RtpStreamPause{}, &RtpStreamPauseList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)

	return nil
}
