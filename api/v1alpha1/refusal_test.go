package v1alpha1_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// unchecked is what the API server adds when an error of the schema kept it from
// asking CEL.
const unchecked = "<nil>: Invalid value: null: some validation rules were not checked because the object was " +
	"invalid; correct the existing errors to complete validation"

// wantRefusal compares all that the API server says, cause by cause, as kubectl
// prints it.
func wantRefusal(t *testing.T, err error, messages ...string) {
	t.Helper()
	if diff := cmp.Diff(slices.Sorted(slices.Values(messages)), refusal(t, err)); diff != "" {
		t.Errorf("the API server says something else (-want +got):\n%s", diff)
	}
}

// refusal is the causes of an error, sorted.
func refusal(t *testing.T, err error) []string {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || (!apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err)) {
		t.Fatalf("got %v, want a refusal", err)
	}
	if details := status.Status().Details; apierrors.IsInvalid(err) && details != nil && len(details.Causes) > 0 {
		var causes []string
		for _, cause := range details.Causes {
			causes = append(causes, cause.Field+": "+cause.Message)
		}

		return slices.Sorted(slices.Values(causes))
	}
	_, message, _ := strings.Cut(status.Status().Message, "cannot be handled as a RtpStreamPause: ")

	return []string{message}
}
