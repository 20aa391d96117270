package sora

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/nagi-rtc/nagi/cmd/shim/live"
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
	// challenge is the value of the header www-authenticate; empty: there is none.
	challenge string
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

	unauthenticated       = "UNAUTHENTICATED"
	ambiguousIDs          = "AMBIGUOUS-IDS"
	sameConnection        = "SAME-CONNECTION"
	invalidClientID       = "INVALID-CLIENT-ID"
	channelNotFound       = "CHANNEL-NOT-FOUND"
	connectionNotFound    = "CONNECTION-NOT-FOUND"
	roleMismatch          = "ROLE-MISMATCH"
	sameBundle            = "SAME-BUNDLE"
	differentMediaServers = "DIFFERENT-MEDIA-SERVERS"
	nameTaken             = "NAME-TAKEN"
	pauseRefused          = "PAUSE-REFUSED"
	stillPaused           = "STILL-PAUSED"
	tooMany               = "TOO-MANY"
	forbidden             = "FORBIDDEN"
	beingDeleted          = "BEING-DELETED"
	notConfirmed          = "NOT-CONFIRMED"
	namespaceNotFound     = "NAMESPACE-NOT-FOUND"
	namespaceTerminating  = "NAMESPACE-TERMINATING"
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

// malformed is the refusal of a body that is not JSON. Sora says no more than the
// name; the message is Nagi's own.
func malformed(message string) *failure {
	return explained(http.StatusBadRequest, malformedJSON, message)
}

// explained is a failure of ours; details are alternating keys and values.
func explained(status int, name, message string, details ...any) *failure {
	reason := map[string]any{"message": message}
	for i := 0; i+1 < len(details); i += 2 {
		reason[fmt.Sprint(details[i])] = details[i+1]
	}

	return &failure{status: status, name: name, reason: reason}
}

// unanswered is the failure of a question that the managers did not answer. so is
// what is so with the request nevertheless. What they said is for the operator's log.
func (h *Handler) unanswered(so string, err error) error {
	why := "no manager answered"
	switch {
	case errors.Is(err, live.ErrNotServed):
		why = fmt.Sprintf("no manager serves the namespace %s: it belongs into their --namespaces", h.config.Namespace)
	case errors.Is(err, live.ErrNotCurrent):
		why = "the managers, or a media server, are behind or out of touch"
	}

	return fmt.Errorf("%w: %w",
		explained(http.StatusServiceUnavailable, notConfirmed, so+", but "+why+"; repeat the request"), err)
}
