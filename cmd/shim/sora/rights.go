package sora

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// need is a right of the shim's own.
type need struct {
	verb, group, resource string
	// namespace is where it has to hold; empty: in the cluster.
	namespace string
	// role is the shipped role that has it.
	role string
}

// verbs are what the shim does with rtpstreampauses.
var verbs = []string{"get", "list", "create", "update", "delete"}

// shimRole is what the shim may do in its tenant's namespace.
const shimRole = "nagi-shim"

// pauseNeeds are the rights that every shim needs.
func pauseNeeds(namespace string) []need {
	var needs []need
	for _, verb := range verbs {
		needs = append(needs, need{verb, v1alpha1.GroupVersion.Group, v1alpha1.Plural, namespace, shimRole})
	}

	return needs
}

// reviewNeeds are the rights by which the shim learns who calls and what they may.
func reviewNeeds(namespace string) []need {
	return []need{
		{"create", authenticationv1.GroupName, "tokenreviews", "", "nagi-token-reviewer"},
		{"create", authorizationv1.GroupName, "localsubjectaccessreviews", namespace, shimRole},
	}
}

// lacks says which rights are missing, and which roles have them.
func lacks(missing []need) error {
	var sentences []string
	for len(missing) > 0 {
		first := missing[0]
		end := slices.IndexFunc(missing, func(n need) bool { return n.resource != first.resource })
		if end < 0 {
			end = len(missing)
		}
		var lacking []string
		for _, n := range missing[:end] {
			lacking = append(lacking, n.verb)
		}
		where, binding := "the namespace "+first.namespace, ""
		if first.namespace == "" {
			where, binding = "the cluster", " by a ClusterRoleBinding"
		}
		sentences = append(sentences, fmt.Sprintf("to %s %s.%s in %s: bind it to the role %s%s",
			strings.Join(lacking, ", "), first.resource, first.group, where, first.role, binding))
		missing = missing[end:]
	}

	return errors.New("the shim's ServiceAccount lacks the right " + strings.Join(sentences, "; "))
}

// missingRights asks the API server which of the rights the shim has not. Where it
// reviews no access, none is known to be missing.
func (p pauses) missingRights(ctx context.Context, needs []need) ([]need, error) {
	allowed := make([]bool, len(needs))
	group, ctx := errgroup.WithContext(ctx)
	for i, n := range needs {
		group.Go(func() error {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: n.namespace, Verb: n.verb, Group: n.group, Resource: n.resource,
				},
			}}
			err := p.client.Create(ctx, review)
			if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err) {
				allowed[i] = true

				return nil
			}
			allowed[i] = review.Status.Allowed

			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("ask the API server for the shim's rights: %w", err)
	}
	var missing []need
	for i, n := range needs {
		if !allowed[i] {
			missing = append(missing, n)
		}
	}

	return missing, nil
}
