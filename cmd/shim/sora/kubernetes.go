package sora

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// NewClient makes a client without a cache and without a rate limit of its own: the
// API server's priority and fairness decides who waits.
func NewClient(config *rest.Config) (client.Client, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.UserAgent = "nagi-shim"
	scheme := runtime.NewScheme()
	err := errors.Join(v1alpha1.AddToScheme(scheme), authenticationv1.AddToScheme(scheme),
		authorizationv1.AddToScheme(scheme))
	if err != nil {
		return nil, fmt.Errorf("register the types: %w", err)
	}
	// Known beforehand, so that no discovery can fail or needs a right.
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("RtpStreamPause"), meta.RESTScopeNamespace)
	mapper.Add(authenticationv1.SchemeGroupVersion.WithKind("TokenReview"), meta.RESTScopeRoot)
	mapper.Add(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"), meta.RESTScopeRoot)
	mapper.Add(authorizationv1.SchemeGroupVersion.WithKind("LocalSubjectAccessReview"), meta.RESTScopeNamespace)
	objects, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server at %s: %w", config.Host, err)
	}

	return objects, nil
}

// failure turns an error of the API server into what the client is told, in words
// of ours: the API server's name users, addresses and policies, and are for the
// operator's log.
func (p pauses) failure(ctx context.Context, tried string, err error) error {
	return fmt.Errorf("%w: %s: %w", p.explain(ctx, err), tried, err)
}

// explain finds the cause: 403 for what a right or a policy refuses, so that nobody
// retries it, and 503 for everything that may pass.
func (p pauses) explain(ctx context.Context, err error) *failure {
	unavailable := func(format string, values ...any) *failure {
		return explained(http.StatusServiceUnavailable, kubernetesUnavailable, fmt.Sprintf(format, values...))
	}
	refused := func(format string, values ...any) *failure {
		return explained(http.StatusForbidden, forbidden, fmt.Sprintf(format, values...))
	}
	var status *apierrors.StatusError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable("the API server did not answer in %v; repeat the request", kubernetesTimeout)
	case !errors.As(err, &status):
		return unavailable("the API server cannot be reached; repeat the request")
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return explained(http.StatusServiceUnavailable, namespaceTerminating,
			fmt.Sprintf("the namespace %s is being deleted, and no pause can be made in it: serve another one", p.namespace),
			"namespace", p.namespace)
	case apierrors.IsNotFound(err) && status.ErrStatus.Details != nil && status.ErrStatus.Details.Kind == "namespaces":
		return explained(http.StatusServiceUnavailable, namespaceNotFound,
			fmt.Sprintf("there is no namespace %s: create it, or name another with the shim's --namespace", p.namespace),
			"namespace", p.namespace)
	case apierrors.IsNotFound(err):
		return unavailable("the API server does not know RtpStreamPauses: install config/crd")
	case apierrors.IsUnauthorized(err):
		return refused("the API server does not accept the shim's credentials: give it valid ones")
	case apierrors.IsForbidden(err):
		if missing, reviewError := p.missingRights(ctx, pauseNeeds(p.namespace)); reviewError == nil && len(missing) > 0 {
			return refused("%v", lacks(missing))
		}

		return refused("an admission policy or a quota of the cluster refuses the pause; its words are in the shim's log")
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return refused("an admission policy of the cluster, or its RtpStreamPause type, refuses the pause; " +
			"its words are in the shim's log")
	case apierrors.IsTooManyRequests(err), apierrors.IsServerTimeout(err), apierrors.IsTimeout(err):
		return unavailable("the API server has too much to do; repeat the request")
	}

	return unavailable("the API server failed; repeat the request")
}

const (
	// accessFor is how long a look at the API server counts as readiness.
	accessFor = 5 * time.Second
	// readyTimeout bounds one look.
	readyTimeout = 2 * time.Second
)

// access is whether the API server can be used, remembered for some seconds.
type access struct {
	// needs are the rights without which the shim is not ready.
	needs []need

	mu      sync.Mutex
	checked time.Time
	err     error
}

// Ready returns an error that says what the shim cannot do: reach the API server,
// use its rights, or get an answer for its namespace.
func (h *Handler) Ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	var group errgroup.Group
	var served, usable error
	group.Go(func() error {
		served = h.config.Replicas.Serving(ctx)

		return nil
	})
	group.Go(func() error {
		usable = h.access.check(ctx, h.pauses)

		return nil
	})
	// Neither returns an error: both are told.
	_ = group.Wait()
	if served != nil {
		served = fmt.Errorf("namespace %s: %w", h.config.Namespace, served)
	}

	return errors.Join(usable, served)
}

func (a *access) check(ctx context.Context, pauses pauses) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.checked) < accessFor {
		return a.err
	}
	// The time of a failure is not kept: what mends it is to show at once.
	switch missing, err := pauses.missingRights(ctx, a.needs); {
	case err != nil:
		a.err = err
	case len(missing) > 0:
		a.err = lacks(missing)
	default:
		_, a.err = pauses.version(ctx)
		if a.err == nil {
			a.checked = time.Now()
		}
	}

	return a.err
}
