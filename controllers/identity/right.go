package identity

import (
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var createOptions = metav1.CreateOptions{}

// right is whether the manager itself may review, as the API server answered last.
type right struct {
	mu      sync.Mutex
	lacking map[string]bool // by resource
}

// noted keeps what an answer says of the right to review, and returns the error.
func (r *right) noted(err error, resource string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case apierrors.IsForbidden(err):
		if r.lacking == nil {
			r.lacking = map[string]bool{}
		}
		r.lacking[resource] = true
	case err == nil:
		delete(r.lacking, resource)
	}

	return err
}

func (r *right) missing() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range []string{"tokenreviews", "subjectaccessreviews"} {
		if r.lacking[resource] {
			return fmt.Errorf("this manager may not create %s, so it cannot tell who calls and takes nobody in whom it "+
				"does not know: bind the ClusterRole nagi-manager-reviews to the manager's ServiceAccount", resource)
		}
	}

	return nil
}
