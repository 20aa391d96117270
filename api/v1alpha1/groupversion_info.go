// Package v1alpha1 holds the RtpStreamPause type of the API group rtp.nagi.dev.
// It imports nothing but apimachinery, so that any client can afford it.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
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

	// SchemeGroupVersion is GroupVersion under the name that generated code expects.
	SchemeGroupVersion = GroupVersion

	// SchemeBuilder collects what AddToScheme registers.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme registers the types of this package.
	AddToScheme = SchemeBuilder.AddToScheme
)

// Plural is the name of the resource, as in URLs and roles.
const Plural = "rtpstreampauses"

// RequestedByAnnotation names the user at whose request a program made the pause or
// edited it last, where the API server saw the program alone.
const RequestedByAnnotation = "rtp.nagi.dev/requested-by"

// Resource qualifies the name of a resource with this package's group, as errors
// of the API machinery want it.
func Resource(resource string) schema.GroupResource {
	return GroupVersion.WithResource(resource).GroupResource()
}

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &RtpStreamPause{}, &RtpStreamPauseList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)

	return nil
}
