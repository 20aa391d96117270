package certificates

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
)

// publishAgain is after how many looks what clients trust is written again though it has
// not changed, so that what somebody else did to it lasts no longer: a minute.
const publishAgain = 6

// fieldOwner owns what we write of a ConfigMap.
const fieldOwner = "nagi-manager"

// published is what a namespace was given last.
type published struct {
	bundle string
	at     time.Time
}

// Apply creates what is absent, and the API server asks for both verbs by name.
// +kubebuilder:rbac:groups="",resources=configmaps,resourceNames=nagi-ca,verbs=create;patch
// +kubebuilder:rbac:groups="",namespace=default,resources=configmaps,resourceNames=nagi-ca,verbs=create;patch

// publish gives every tenant's namespace, and the managers' own, what clients trust:
// the ConfigMap nagi-ca, which pods mount. A namespace that is not there, or is going,
// has no clients. done tells that all have it whose own people let them: whoever makes
// the ConfigMap of one tenant immutable shall not keep the others' authority from being
// replaced.
func (k *Keeper) publish(ctx context.Context, bundle string) (done bool, err error) {
	var failed []error
	done = true
	for _, namespace := range k.namespaces {
		if last := k.published[namespace]; last.bundle == bundle && time.Since(last.at) < publishAgain*k.config.Interval {
			continue
		}
		applied := coreapply.ConfigMap(Object, namespace).
			WithLabels(map[string]string{"app.kubernetes.io/managed-by": fieldOwner}).
			WithData(map[string]string{bundleKey: bundle})
		_, err := k.core.ConfigMaps(namespace).Apply(ctx, applied, metav1.ApplyOptions{FieldManager: fieldOwner, Force: true})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			done = done && apierrors.IsInvalid(err)
			failed = append(failed, fmt.Errorf("write what clients trust into the ConfigMap %s/%s: %w", namespace, Object, err))

			continue
		}
		k.published[namespace] = published{bundle, time.Now()}
	}

	return done, errors.Join(failed...)
}
