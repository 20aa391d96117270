// Package identity knows callers by their ServiceAccount tokens and says what they
// may: the API server is asked (TokenReview, then SubjectAccessReview), and what it
// said is good for a while, longer where it cannot be asked.
package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const (
	// goodInOutage is how long it counts where the API server does not answer; the
	// token's own end comes first where it is sooner. Kubelet's tokens live an hour.
	goodInOutage = time.Hour
	// timeout bounds one review.
	timeout = 5 * time.Second
	// maxTokenBytes is more than any ServiceAccount's token has; what is longer is no
	// token, and not handed on.
	maxTokenBytes = 16 << 10
	// maxWords bounds what is said of why a token is refused, in characters.
	maxWords = 512
	// maxReviews bounds the reviews under way, of callers that are known and of others
	// each: strangers with invented tokens cost the API server no more, and nobody whom
	// it has allowed something waits behind them.
	maxReviews = 32
	// podName and podUID are what the API server says about a token that is bound to a
	// pod.
	podName = "authentication.kubernetes.io/pod-name"
	podUID  = "authentication.kubernetes.io/pod-uid"
)

var (
	// ErrUnauthenticated is wrapped where a token is no good.
	ErrUnauthenticated = errors.New("who calls is not known")
	// ErrDenied is wrapped where the caller is known and may not do it.
	ErrDenied = errors.New("denied")
	// ErrUnanswerable is wrapped where the API server did not say.
	ErrUnanswerable = errors.New("the API server does not say who calls, or what it may")
)

// Caller is whom a token names. What it does not say is empty: a person's token names
// no pod, and nobody's namespace.
type Caller struct {
	Username, Namespace, ServiceAccount, Pod, PodUID string

	user authenticationv1.UserInfo
}

// Verbs on rtpstreampauses that callers are asked for.
const (
	// Subscribe is a media server's, in its own namespace.
	Subscribe = "subscribe"
	// List is for whoever asks View.
	List = "list"
	// Disconnect is for whoever dismisses connections by Control.
	Disconnect = "disconnect"
)

// Config says whom to ask.
type Config struct {
	REST       *rest.Config
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Good is how long a review counts before the API server is asked again; a minute.
	Good time.Duration
}

// Reviewer asks the API server about callers and remembers what it said.
type Reviewer struct {
	good    time.Duration
	tokens  authenticationclient.TokenReviewInterface
	rights  authorizationclient.SubjectAccessReviewInterface
	log     *slog.Logger
	metrics *metrics
	known   *cache
	// flights make one review of those that are the same at the same time.
	flights singleflight.Group
	rooms   map[bool]*semaphore.Weighted // by whether the caller is known
	right   right
	saying  map[string]*rate.Sometimes
}

// New prepares a reviewer. Run keeps Ready up to date; nothing else needs it.
func New(config Config) (*Reviewer, error) {
	tokens, err := authenticationclient.NewForConfig(config.REST)
	if err != nil {
		return nil, fmt.Errorf("make a client for the review of tokens: %w", err)
	}
	rights, err := authorizationclient.NewForConfig(config.REST)
	if err != nil {
		return nil, fmt.Errorf("make a client for the review of rights: %w", err)
	}
	if config.Good == 0 {
		config.Good = time.Minute
	}

	return &Reviewer{
		good: config.Good, tokens: tokens.TokenReviews(), rights: rights.SubjectAccessReviews(),
		log: config.Log, metrics: newMetrics(config.Registerer),
		known: newCache(), saying: newSaying(),
		rooms: map[bool]*semaphore.Weighted{
			false: semaphore.NewWeighted(maxReviews), true: semaphore.NewWeighted(maxReviews),
		},
	}, nil
}

// isToken tells whether a text can be a token. The API server takes one that a space
// and anything else follow for the token alone: each such text would be remembered, and
// one caller displace all others.
func isToken(text string) bool {
	noToken := func(r rune) bool { return r <= ' ' || r > '~' }

	return text != "" && len(text) <= maxTokenBytes && !strings.ContainsFunc(text, noToken)
}

// Review tells who shows the token, and that the verb on the pauses of the namespace
// is allowed to it; an empty namespace is the caller's own. It asks the API server
// unless the last review is younger than Config.Good, and says when it is to be
// repeated. Where the API server does not answer, an older review counts for up to an
// hour, at most until the token ends. Errors wrap ErrUnauthenticated, ErrDenied or
// ErrUnanswerable.
func (r *Reviewer) Review(
	ctx context.Context, token, verb, namespace string,
) (caller *Caller, again time.Time, err error) {
	return r.review(ctx, token, verb, namespace, false)
}

// Repeat is Review for a caller that has been allowed it before, with another token
// maybe: it does not wait behind strangers, or whoever has lost a right would keep it
// as long as there are enough of them.
func (r *Reviewer) Repeat(
	ctx context.Context, token, verb, namespace string,
) (caller *Caller, again time.Time, err error) {
	return r.review(ctx, token, verb, namespace, true)
}

// Knows tells whether the token was allowed something in the last hour, and has not
// ended. It asks nobody.
func (r *Reviewer) Knows(token string) bool {
	known := r.known.get(keyOf(token, "", ""))

	return known != nil && time.Now().Before(known.until)
}

func (r *Reviewer) review(
	ctx context.Context, token, verb, namespace string, isKnown bool,
) (caller *Caller, again time.Time, err error) {
	if !isToken(token) {
		return nil, time.Time{},
			r.told(verb, namespace, fmt.Errorf("%w: there is no token, or none that can be one", ErrUnauthenticated))
	}
	key := keyOf(token, verb, namespace)
	known := r.known.get(key)
	if known != nil && time.Now().Before(known.again) && time.Now().Before(known.until) {
		return known.caller, known.again, nil
	}
	isKnown = isKnown || known != nil
	// Those that ask the same at the same time, and wait in the same room, share one
	// answer.
	answer, err, _ := r.flights.Do(fmt.Sprint(isKnown, key), func() (any, error) {
		// Whoever else waits for the answer is not to lose it when the first one goes.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()

		return r.look(ctx, key, token, verb, namespace, r.rooms[isKnown])
	})
	if err != nil {
		return nil, time.Time{}, err // Wrapped by ask.
	}
	known = answer.(*review)

	return known.caller, known.again, nil
}

// look asks the API server, remembers what it allows and forgets what it does not; or
// goes by what is remembered.
func (r *Reviewer) look(
	ctx context.Context, key key, token, verb, namespace string, room *semaphore.Weighted,
) (*review, error) {
	caller, err := r.ask(ctx, token, verb, namespace, room)
	now := time.Now()
	if err == nil {
		// Streams that came together are not reviewed together for ever.
		again := now.Add(r.good + rand.N(r.good/10))
		known := &review{caller: caller, again: again, until: endOf(token, now.Add(goodInOutage))}
		r.known.put(key, known)
		r.known.put(keyOf(token, "", ""), known)

		return known, nil
	}
	err = r.told(verb, namespace, err)
	if !errors.Is(err, ErrUnanswerable) {
		r.known.forget(key)
		if errors.Is(err, ErrUnauthenticated) {
			r.known.forget(keyOf(token, "", ""))
		}

		return nil, err
	}
	known := r.known.get(key)
	if known == nil || !now.Before(known.until) {
		return nil, err
	}
	r.metrics.remembered.Inc()
	// Nobody else is to wait for an API server that hangs, for a while.
	known = &review{caller: known.caller, again: now.Add(r.good / 6), until: known.until}
	r.known.put(key, known)

	return known, nil
}

// ask has the API server review the token, then the right of whom it names.
func (r *Reviewer) ask(ctx context.Context, token, verb, namespace string, room *semaphore.Weighted) (*Caller, error) {
	if err := room.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("%w: %d reviews are under way: %w", ErrUnanswerable, maxReviews, err)
	}
	defer room.Release(1)
	caller, err := r.authenticate(ctx, token)
	if err != nil {
		return nil, err
	}
	if namespace == "" {
		namespace = caller.Namespace
	}

	return caller, r.authorize(ctx, caller, verb, namespace)
}

func (r *Reviewer) authenticate(ctx context.Context, token string) (*Caller, error) {
	asked := &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{forwardingv1.Audience}},
	}
	answer, err := r.tokens.Create(ctx, asked, createOptions)
	if err := r.right.noted(err, "tokenreviews"); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrUnanswerable, without(token, err.Error()))
	}
	if !answer.Status.Authenticated {
		return nil, fmt.Errorf("%w: %.*s", ErrUnauthenticated, maxWords,
			without(token, cmp.Or(answer.Status.Error, "the API server knows no such token")))
	}
	if !slices.Contains(answer.Status.Audiences, forwardingv1.Audience) {
		// An API server that knows no audiences would take its own tokens for ours.
		return nil, fmt.Errorf("%w: the token is not for the audience %s", ErrUnauthenticated, forwardingv1.Audience)
	}

	return callerOf(answer.Status.User), nil
}

// without is a text of somebody else's that shall not tell the token.
func without(token, text string) string { return strings.ReplaceAll(text, token, "(the token)") }

func callerOf(user authenticationv1.UserInfo) *Caller {
	first := func(key string) string {
		if values := user.Extra[key]; len(values) > 0 {
			return values[0]
		}

		return ""
	}
	c := &Caller{Username: user.Username, Pod: first(podName), PodUID: first(podUID), user: user}
	if account, ok := strings.CutPrefix(user.Username, "system:serviceaccount:"); ok {
		c.Namespace, c.ServiceAccount, _ = strings.Cut(account, ":")
	}

	return c
}

func (r *Reviewer) authorize(ctx context.Context, c *Caller, verb, namespace string) error {
	if namespace == "" {
		// Or the question would be about all namespaces.
		return fmt.Errorf("%w: %s is no ServiceAccount, and no namespace is named", ErrDenied, c.Username)
	}
	extra := make(map[string]authorizationv1.ExtraValue, len(c.user.Extra))
	for key, values := range c.user.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	asked := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: c.user.Username, UID: c.user.UID, Groups: c.user.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace,
			Verb:      verb,
			Group:     v1alpha1.GroupVersion.Group,
			Version:   v1alpha1.GroupVersion.Version,
			Resource:  v1alpha1.Plural,
		},
	}}
	answer, err := r.rights.Create(ctx, asked, createOptions)
	if err := r.right.noted(err, "subjectaccessreviews"); err != nil {
		return fmt.Errorf("%w: %w", ErrUnanswerable, err)
	}
	if !answer.Status.Allowed && !answer.Status.Denied && answer.Status.EvaluationError != "" {
		// An authorizer could not say, such as a webhook that is away, and no other
		// allows it: the API server itself answers 500 to such a request, and not 403.
		return fmt.Errorf("%w: the right of %s to %s: %s", ErrUnanswerable, c.Username, verb, answer.Status.EvaluationError)
	}
	if !answer.Status.Allowed {
		return fmt.Errorf("%w: %s may not %s %s.%s in namespace %s; bind a role with that verb to it there",
			ErrDenied, c.Username, verb, v1alpha1.Plural, v1alpha1.GroupVersion.Group, namespace)
	}

	return nil
}

// Run finds out, at once and each minute until ctx ends, whether the reviewer itself has
// the right to review.
func (r *Reviewer) Run(ctx context.Context) error {
	ticker := time.NewTicker(r.good)
	defer ticker.Stop()
	for {
		r.try(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// try asks about nobody.
func (r *Reviewer) try(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, _ = r.authenticate(ctx, "nobody")
	nobody := &Caller{Username: "system:anonymous", user: authenticationv1.UserInfo{Username: "system:anonymous"}}
	_ = r.authorize(ctx, nobody, Subscribe, metav1.NamespaceDefault)
}

// Ready tells that the reviewer itself lacks a right: nil when it does not, as far as
// it has seen.
func (r *Reviewer) Ready() error { return r.right.missing() }
