package sora

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/shim/callers"
)

// connectionsResource is who is in the channels of a namespace, as roles name it. The
// API server has no such objects; rules are about words, and need none.
const connectionsResource = "connections"

// What a program must be allowed to in the shim's namespace.
var (
	rightsToPause      = rights(v1alpha1.Plural, "create", "update")
	rightsToResume     = rights(v1alpha1.Plural, "delete")
	rightsToList       = rights(v1alpha1.Plural, "list")
	rightsToLook       = rights(connectionsResource, "list")
	rightsToDisconnect = rights(connectionsResource, "delete")
)

func rights(resource string, verbs ...string) (rights []callers.Right) {
	for _, verb := range verbs {
		rights = append(rights, callers.Right{Verb: verb, Resource: resource})
	}

	return rights
}

// changes tells whether somebody with these rights does more than look.
func changes(rights []callers.Right) bool {
	return slices.ContainsFunc(rights, func(right callers.Right) bool { return right.Verb != "list" })
}

// Challenges of a 401 (RFC 6750 section 3).
const (
	challenge             = `Bearer realm="nagi"`
	challengeAfterRequest = challenge + `, error="invalid_request"`
	challengeAfterToken   = challenge + `, error="invalid_token"`
)

// admit returns the name of who asks, if they may use these rights; "" of a request
// without a token where none is asked for. A token that is sent counts even there:
// who sends one expects to act as its bearer.
func (h *Handler) admit(r *http.Request, rights []callers.Right) (name string, err error) {
	headers := r.Header.Values("Authorization")
	switch {
	case h.config.Reviews == nil, len(headers) == 0 && h.config.AllowAnonymous:
		return "", nil
	case len(headers) == 0:
		return "", h.unauthenticated(challenge, "no token was sent")
	}
	token, ok := bearerToken(headers)
	if !ok {
		return "", h.unauthenticated(challengeAfterRequest,
			"the header Authorization is not the word Bearer and one token")
	}
	ctx, cancel := context.WithTimeout(r.Context(), callers.Timeout)
	defer cancel()
	user, err := h.config.Reviews.Who(ctx, token)
	if errors.Is(err, callers.ErrRefused) {
		return "", fmt.Errorf("%w: %w", h.unauthenticated(challengeAfterToken,
			"the token is not accepted: it has expired, was revoked, or is for another cluster or audience"), err)
	}
	if err != nil {
		return "", h.unreviewed(ctx, err)
	}
	missing, err := h.config.Reviews.Missing(ctx, user, rights...)
	switch {
	case err != nil:
		return "", h.unreviewed(ctx, err)
	case len(missing) > 0:
		return "", h.notAllowed(user, missing)
	}

	return user.Username, nil
}

// b64token is what follows "Bearer " (RFC 6750 section 2.1).
var b64token = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

func bearerToken(headers []string) (string, bool) {
	scheme, token, _ := strings.Cut(headers[0], " ")
	token = strings.TrimLeft(token, " ")

	return token, len(headers) == 1 && strings.EqualFold(scheme, "Bearer") && b64token.MatchString(token)
}

// unauthenticated is a 401.
func (h *Handler) unauthenticated(challenge, message string) *failure {
	mend := "kubectl create token SERVICEACCOUNT --audience=" + h.config.Reviews.Audiences()[0]
	message += "; send Authorization: Bearer and a token such as `" + mend + "` makes"
	if h.config.AllowAnonymous {
		message += ", or no such header: none is asked for here"
	}
	f := explained(http.StatusUnauthorized, unauthenticated, message)
	f.challenge = challenge

	return f
}

// notAllowed is the 403 of a caller without the rights, which are all on one resource.
func (h *Handler) notAllowed(user authenticationv1.UserInfo, missing []callers.Right) *failure {
	var verbs []string
	for _, right := range missing {
		verbs = append(verbs, right.Verb)
	}
	role := "nagi-viewer"
	if changes(missing) {
		role = "nagi-editor"
	}
	name, namespace := shortened(user.Username), h.config.Namespace
	resource := v1alpha1.Resource(missing[0].Resource).String()
	mend := fmt.Sprintf("kubectl create rolebinding NAME --namespace=%s --clusterrole=%s %s",
		namespace, role, subject(user.Username))
	message := fmt.Sprintf("%s lacks the right to %s %s in the namespace %s: grant it with `%s`",
		name, strings.Join(verbs, " and "), resource, namespace, mend)

	return explained(http.StatusForbidden, forbidden, message, "user", name, "verbs", verbs, "resource", resource)
}

// plainName is a user's name that no shell reads as anything else.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.:@/+-]{1,255}$`)

// subject names the user to kubectl create rolebinding.
func subject(user string) string {
	if !plainName.MatchString(user) {
		return "--user=USER"
	}
	if account, found := strings.CutPrefix(user, "system:serviceaccount:"); found {
		return "--serviceaccount=" + account
	}

	return "--user=" + user
}

// unreviewed is the failure of a review that the API server did not answer.
func (h *Handler) unreviewed(ctx context.Context, err error) error {
	var f *failure
	switch {
	case errors.Is(err, callers.ErrUndecided):
		f = explained(http.StatusServiceUnavailable, kubernetesUnavailable,
			"an authorizer of the API server's does not answer; its words are in the shim's log; repeat the request")
	case apierrors.IsForbidden(err):
		message := "the shim's ServiceAccount may not have tokens and rights reviewed: " +
			"bind it to the roles nagi-token-reviewer and nagi-shim, as config/rbac does"
		missing, reviewError := h.pauses.missingRights(ctx, reviewNeeds(h.config.Namespace))
		if reviewError == nil && len(missing) > 0 {
			message = lacks(missing).Error()
		}
		f = explained(http.StatusForbidden, forbidden, message)
	case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err),
		apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		f = explained(http.StatusServiceUnavailable, kubernetesUnavailable,
			"the API server does not review tokens and rights; its words are in the shim's log")
	default:
		f = h.pauses.explain(ctx, err)
	}

	return fmt.Errorf("%w: %w", f, err)
}
