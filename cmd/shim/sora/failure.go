package sora

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// failure is a refusal in Sora's JSON form.
type failure struct {
	status int
	// name is the value of error_type.
	name string
	// bareKey puts the name under "type" instead of "error_type", as Sora does
	// for what it refuses before it looks at the target.
	bareKey bool
	// reason is the value of error_reason; nil: the key is absent.
	reason any
}

// Error makes a failure an error, for logs.
func (f *failure) Error() string {
	if f.reason == nil {
		return f.name
	}
	return fmt.Sprintf("%s: %v", f.name, f.reason)
}

// body is the JSON object that the client gets.
func (f *failure) body() map[string]any {
	if f.bareKey {
		return map[string]any{"type": f.name}
	}
	body := map[string]any{"error_type": f.name}
	if f.reason != nil {
		body["error_reason"] = f.reason
	}
	return body
}

// Names of failures, in the order of docs/sora.md. The first group is Sora's
// (swidden's), the second is ours: Sora documents no names for them.
const (
	unexpectedMethod      = "UnexpectedMethod"
	missingHeaderName     = "MissingHeaderName"
	missingService        = "MissingService"
	invalidTarget         = "InvalidTarget"
	payloadTooLarge       = "PayloadTooLarge"
	requestTimeout        = "RequestTimeout"
	missingTarget         = "MissingTarget"
	missingTargetFunction = "MissingTargetFunction"
	malformedJSON         = "MalformedJSON"
	schemaNotFound        = "SchemaNotFound"
	invalidJSON           = "InvalidJSON"
	handlerException      = "HandlerException"

	channelNotFound       = "CHANNEL-NOT-FOUND"
	connectionNotFound    = "CONNECTION-NOT-FOUND"
	sameConnection        = "SAME-CONNECTION"
	sameBundle            = "SAME-BUNDLE"
	roleMismatch          = "ROLE-MISMATCH"
	stillPaused           = "STILL-PAUSED"
	forbidden             = "FORBIDDEN"
	notConfirmed          = "NOT-CONFIRMED"
	kubernetesUnavailable = "KUBERNETES-UNAVAILABLE"
)

// refusal is a 400 with nothing but a name.
func refusal(name string) *failure {
	return &failure{status: http.StatusBadRequest, name: name}
}

// refusalOf is a 400 that repeats which target it is about.
func refusalOf(name string, t target) *failure {
	return &failure{status: http.StatusBadRequest, name: name, reason: map[string]string{
		"operation": t.Operation, "service": t.Service, "version": t.Version,
	}}
}

// explained is a failure of ours; details are alternating keys and values.
func explained(status int, name, message string, details ...string) *failure {
	reason := map[string]string{"message": message}
	for i := 0; i+1 < len(details); i += 2 {
		reason[details[i]] = details[i+1]
	}
	return &failure{status: status, name: name, reason: reason}
}

// kubernetesFailure turns an error of the API server into what the client is
// told: 403 for what a right or a policy refuses, so that nobody retries it, and
// 503 for everything that may pass.
func kubernetesFailure(tried string, err error) error {
	var own *failure
	if errors.As(err, &own) {
		return own
	}
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return explained(http.StatusForbidden, forbidden,
			fmt.Sprintf("%s: %v; the shim's ServiceAccount needs get, list, create and delete on rtpstreampauses, and admission policies must admit the object", tried, err))
	case errors.Is(err, context.DeadlineExceeded):
		return explained(http.StatusServiceUnavailable, kubernetesUnavailable,
			fmt.Sprintf("%s: the API server did not answer in %v; repeat the request", tried, kubernetesTimeout))
	default:
		return explained(http.StatusServiceUnavailable, kubernetesUnavailable,
			fmt.Sprintf("%s: %v; repeat the request", tried, err))
	}
}
