package serve

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/validation"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/identity"
)

// Reviewer says who shows a token and that it may do something, as
// identity.Reviewer does.
type Reviewer interface {
	Review(ctx context.Context, token, verb, namespace string) (caller *identity.Caller, again time.Time, err error)
	// Repeat is the same for a caller that was allowed it before.
	Repeat(ctx context.Context, token, verb, namespace string) (caller *identity.Caller, again time.Time, err error)
	// Knows tells whether the token was allowed something lately. It asks nobody.
	Knows(token string) bool
}

// retryUnanswerable is when a review is tried again that the API server did not answer.
const retryUnanswerable = 10 * time.Second

// tokenOf is the token that a call brings; "": none.
func tokenOf(ctx context.Context) string {
	for _, value := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		if scheme, token, found := strings.Cut(value, " "); found && strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(token)
		}
	}

	return ""
}

// admit fails unless the caller may do this in the namespace.
func (s *Server) admit(ctx context.Context, verb, namespace string) error {
	if s.config.Reviewer == nil {
		return nil
	}
	switch problems := validation.IsDNS1123Label(namespace); {
	case namespace == "":
		return invalid("namespace is empty: set it")
	case len(problems) > 0:
		// It would go on to the API server and into the log, of any length.
		return invalid("namespace is no name of one: %s", problems[0])
	}
	if _, _, err := s.config.Reviewer.Review(ctx, tokenOf(ctx), verb, namespace); err != nil {
		return statusOf(err)
	}
	introduce(ctx)

	return nil
}

// admission is who a stream's media server is, by its token.
type admission struct {
	caller *identity.Caller
	token  string
	// again is when the review is to be repeated.
	again time.Time
	// renewed has room for one: the last token counts.
	renewed chan string
}

// admitMediaServer fails unless the caller is a pod that may subscribe in its own
// namespace. It returns nil where nobody is reviewed.
func (s *Server) admitMediaServer(ctx context.Context) (*admission, error) {
	if s.config.Reviewer == nil {
		return nil, nil
	}
	a := &admission{token: tokenOf(ctx), renewed: make(chan string, 1)}
	var err error
	if a.caller, a.again, err = s.config.Reviewer.Review(ctx, a.token, identity.Subscribe, ""); err != nil {
		return nil, &notAllowed{statusOf(err)}
	}
	introduce(ctx)
	if a.caller.Pod == "" || a.caller.PodUID == "" {
		return nil, status.Errorf(codes.PermissionDenied,
			"the token of %s is bound to no pod, so it does not say which media server calls: give the media server the "+
				"token of a projected volume", a.caller.Username)
	}

	return a, nil
}

// notAllowed is why a stranger's stream ends, which the reviewer has counted and, within
// bounds, logged.
type notAllowed struct{ error }

func (e *notAllowed) Unwrap() error { return e.error }

// welcome names what this replica can do beyond the first version of the protocol.
func (s *Server) welcome() *forwardingv1.Welcome {
	if s.config.Reviewer == nil {
		return &forwardingv1.Welcome{}
	}

	return &forwardingv1.Welcome{Features: []string{forwardingv1.FeatureToken}}
}

// identify has the token say who the media server is, and refuses what that says against
// it.
func (a *admission) identify(namespace, mediaServer string) (string, string, error) {
	if a == nil {
		return namespace, mediaServer, nil
	}
	if said := namespace; said != "" && said != a.caller.Namespace {
		return "", "", status.Errorf(codes.PermissionDenied, "the media server says that its namespace is %q, "+
			"and its token that it is %q: start it with --namespace=%s", said, a.caller.Namespace, a.caller.Namespace)
	}
	if said := mediaServer; said != "" && said != a.caller.Pod {
		return "", "", status.Errorf(codes.PermissionDenied, "the media server says that its name is %q, "+
			"and its token that its pod is %q: start it with --name=%s", said, a.caller.Pod, a.caller.Pod)
	}

	return a.caller.Namespace, a.caller.Pod, nil
}

// renew hands a renewed token to guard; the stream's reader alone calls it.
func (a *admission) renew(token string) {
	if a == nil {
		return
	}
	select {
	case <-a.renewed:
	default:
	}
	a.renewed <- token
}

// guard repeats the review of a stream's caller, at once with each renewed token, and
// returns when it is denied or ctx ends. That the API server does not answer ends no
// stream.
func (s *Server) guard(ctx context.Context, a *admission) error {
	due := time.NewTimer(time.Until(a.again))
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case a.token = <-a.renewed:
		case <-due.C:
		}
		caller, again, err := s.config.Reviewer.Repeat(ctx, a.token, identity.Subscribe, "")
		switch {
		case errors.Is(err, identity.ErrUnanswerable):
			again = time.Now().Add(retryUnanswerable)
		case err != nil:
			return statusOf(err)
		case caller.Namespace != a.caller.Namespace || caller.Pod != a.caller.Pod || caller.PodUID != a.caller.PodUID:
			return status.Errorf(codes.PermissionDenied, "the renewed token is of another pod than %s/%s, "+
				"which the stream began with: open another stream with it", a.caller.Namespace, a.caller.Pod)
		}
		due.Reset(time.Until(again))
	}
}
