// Package callers knows who calls and what they may: it has the API server review a
// program's token and its rights, and goes by the answers for a moment.
package callers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create,roleName=nagi-token-reviewer
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=localsubjectaccessreviews,verbs=create

const (
	// DefaultAudience is what a program's token is for. It is not the API server's, so
	// that such a token opens nothing there, whoever gets hold of it.
	DefaultAudience = "nagi"
	// Timeout is how long all reviews of one request may take together.
	Timeout = 5 * time.Second

	// acceptedFor is how long a token or a right counts without being reviewed again:
	// so long may one go on that has expired or was revoked.
	acceptedFor = 10 * time.Second
	// refusedFor is the same of a refusal: what mends it shows soon, and a program that
	// repeats itself costs the API server little.
	refusedFor = time.Second
	// knownFor is how long after its last review a token that was accepted need not wait
	// behind those of strangers for the next one.
	knownFor = time.Hour
	// maxRemembered bounds the answers that are kept of each kind.
	maxRemembered = 4096
	// maxWords bounds what is kept of why a token is refused, in characters.
	maxWords = 512
	// maxAtOnce bounds the tokens that are reviewed at the same time, of those that were
	// accepted before and of others each: strangers can send any number of them.
	maxAtOnce = 32
)

// ErrRefused is what the API server says of a token: it is nobody's, or for
// something else.
var ErrRefused = errors.New("the API server does not accept the token")

// ErrUndecided is that the API server answers, and cannot say whether somebody has a right.
var ErrUndecided = errors.New("the API server's authorizers could not decide")

// Right is a verb on a resource of the group rtp.nagi.dev.
type Right struct{ Verb, Resource string }

// Creator makes objects in the API server; a review is one that is answered and not
// kept.
type Creator interface {
	Create(context.Context, client.Object, ...client.CreateOption) error
}

// Config is what Reviews need.
type Config struct {
	// API is the API server. It must know TokenReview and LocalSubjectAccessReview.
	API Creator
	// Namespace is where the rights have to hold.
	Namespace string
	// Audiences are those that a token may be for: one of them suffices.
	Audiences  []string
	Registerer prometheus.Registerer
}

// Reviews are the API server's, with the answers of the last seconds.
type Reviews struct {
	config Config
	// What is refused has room of its own, so that strangers displace nobody.
	accepted, refused, rights *cache.LRUExpireCache
	// known are the tokens that were accepted before, which are reviewed again in places
	// of their own.
	known                *cache.LRUExpireCache
	ofKnown, ofStrangers chan struct{}
	answers              *prometheus.CounterVec
}

// New makes Reviews that remember nothing yet.
func New(config Config) *Reviews {
	r := &Reviews{
		config:   config,
		accepted: cache.NewLRUExpireCache(maxRemembered),
		refused:  cache.NewLRUExpireCache(maxRemembered),
		rights:   cache.NewLRUExpireCache(maxRemembered),
		known:    cache.NewLRUExpireCache(maxRemembered),

		ofKnown:     make(chan struct{}, maxAtOnce),
		ofStrangers: make(chan struct{}, maxAtOnce),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagi_shim_reviews_total",
			Help: "Reviews of callers, by what is reviewed (token, right) and answer: " +
				"accepted, refused, failed (the API server did not say), remembered.",
		}, []string{"of", "answer"}),
	}
	config.Registerer.MustRegister(r.answers)

	return r
}

// Audiences are those that a token may be for.
func (r *Reviews) Audiences() []string { return r.config.Audiences }

// Who returns whose token it is. ErrRefused means nobody's; any other error, that the
// API server did not say. No error has the token in it.
func (r *Reviews) Who(ctx context.Context, token string) (authenticationv1.UserInfo, error) {
	key := sha256.Sum256([]byte(token))
	if user, found, err := r.remembered(key); found {
		return user, err
	}
	leave, err := r.place(ctx, key)
	if err != nil {
		r.count("token", "failed")

		return authenticationv1.UserInfo{}, err
	}
	defer leave()
	// Of requests that waited with one token, the first few have had it reviewed.
	if user, found, err := r.remembered(key); found {
		return user, err
	}
	user, err := r.reviewToken(ctx, token)
	switch {
	case err == nil:
		r.count("token", "accepted")
		r.accepted.Add(key, user, acceptedFor)
		r.known.Add(key, true, knownFor)
	case errors.Is(err, ErrRefused):
		r.count("token", "refused")
		r.known.Remove(key)
		r.refused.Add(key, err, refusedFor)
	default:
		r.count("token", "failed")
	}

	return user, err
}

// remembered returns what was said of a token in the last seconds.
func (r *Reviews) remembered(key [sha256.Size]byte) (user authenticationv1.UserInfo, found bool, err error) {
	if accepted, found := r.accepted.Get(key); found {
		r.count("token", "remembered")

		return accepted.(authenticationv1.UserInfo), true, nil
	}
	if refused, found := r.refused.Get(key); found {
		r.count("token", "remembered")

		return authenticationv1.UserInfo{}, true, refused.(error)
	}

	return authenticationv1.UserInfo{}, false, nil
}

// place waits for one of the places in which tokens are reviewed, and returns how to
// leave it.
func (r *Reviews) place(ctx context.Context, key [sha256.Size]byte) (leave func(), err error) {
	places := r.ofStrangers
	if _, found := r.known.Get(key); found {
		places = r.ofKnown
	}
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for %d other tokens that are reviewed: %w", maxAtOnce, ctx.Err())
	}
}

func (r *Reviews) reviewToken(ctx context.Context, token string) (authenticationv1.UserInfo, error) {
	var nobody authenticationv1.UserInfo
	audiences := r.config.Audiences
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}
	if err := r.config.API.Create(ctx, review); err != nil {
		return nobody, fmt.Errorf("review a token: %w", &withoutToken{err, token})
	}
	status := &review.Status
	isOurs := func(audience string) bool { return slices.Contains(audiences, audience) }
	switch {
	case !status.Authenticated || status.User.Username == "":
		// This error is remembered, and holds on to nothing of the token's: one that is
		// refused here may be good elsewhere.
		return nobody, fmt.Errorf("%w: %.*s", ErrRefused, maxWords, without(token, status.Error))
	case !slices.ContainsFunc(status.Audiences, isOurs):
		// An authenticator that knows no audiences names none, and vouches for the API
		// server's own alone (TokenReviewStatus.Audiences).
		return nobody, fmt.Errorf("%w: it is for none of the audiences %q", ErrRefused, audiences)
	}

	return status.User, nil
}

// Missing returns those of the rights that the user lacks in the namespace.
func (r *Reviews) Missing(ctx context.Context, user authenticationv1.UserInfo, rights ...Right) ([]Right, error) {
	allowed := make([]bool, len(rights))
	group, ctx := errgroup.WithContext(ctx)
	for i, right := range rights {
		group.Go(func() (err error) {
			allowed[i], err = r.may(ctx, user, right)

			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var missing []Right
	for i, right := range rights {
		if !allowed[i] {
			missing = append(missing, right)
		}
	}

	return missing, nil
}

func (r *Reviews) may(ctx context.Context, user authenticationv1.UserInfo, right Right) (bool, error) {
	review := &authorizationv1.LocalSubjectAccessReview{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.config.Namespace},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra(user),
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: r.config.Namespace, Verb: right.Verb,
				Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: right.Resource,
			},
		},
	}
	// Whatever an authorizer may go by is in the question.
	question, err := json.Marshal(review.Spec)
	if err != nil {
		return false, fmt.Errorf("write down the question for a right: %w", err)
	}
	key := sha256.Sum256(question)
	if allowed, found := r.rights.Get(key); found {
		r.count("right", "remembered")

		return allowed.(bool), nil
	}
	if err := r.config.API.Create(ctx, review); err != nil {
		r.count("right", "failed")

		return false, fmt.Errorf("review the right of %q to %s %s: %w", user.Username, right.Verb, right.Resource, err)
	}
	status := &review.Status
	if !status.Allowed && !status.Denied && status.EvaluationError != "" {
		// An authorizer could not say, such as a webhook that is away, and no other
		// allows it: the API server itself answers 500 to such a request, and not 403.
		r.count("right", "failed")

		return false, fmt.Errorf("review the right of %q to %s %s: %w: %s",
			user.Username, right.Verb, right.Resource, ErrUndecided, status.EvaluationError)
	}
	answer, remembered := "refused", refusedFor
	if status.Allowed {
		answer, remembered = "accepted", acceptedFor
	}
	r.count("right", answer)
	r.rights.Add(key, status.Allowed, remembered)

	return status.Allowed, nil
}

func extra(user authenticationv1.UserInfo) map[string]authorizationv1.ExtraValue {
	copied := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for key, values := range user.Extra {
		copied[key] = authorizationv1.ExtraValue(values)
	}

	return copied
}

func (r *Reviews) count(of, answer string) { r.answers.WithLabelValues(of, answer).Inc() }

// withoutToken is an error whose text, which is not ours, shall not tell the token.
type withoutToken struct {
	err   error
	token string
}

// Error is the text with the token taken out.
func (e *withoutToken) Error() string { return without(e.token, e.err.Error()) }

// Unwrap lets callers look for what the error is.
func (e *withoutToken) Unwrap() error { return e.err }

func without(token, text string) string { return strings.ReplaceAll(text, token, "(the token)") }
