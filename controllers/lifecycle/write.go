package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	applyconfiguration "github.com/nagi-rtc/nagi/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

const (
	// fieldOwner is the field manager of the status.
	fieldOwner = "nagi-manager"
	// writeTimeout bounds one write; the end of the lease may do so before.
	writeTimeout = 10 * time.Second
)

var (
	// errStale: the object has changed since it was read; to be computed again.
	errStale = errors.New("the object has changed meanwhile")
	// errGone: the object has been deleted since it was read.
	errGone = errors.New("the object is gone")
)

// +kubebuilder:rbac:groups=rtp.nagi.dev,resources=rtpstreampauses,verbs=list;watch;delete
// +kubebuilder:rbac:groups=rtp.nagi.dev,resources=rtpstreampauses/status,verbs=patch

// writer writes to the API server, for as long as the tenure lets it.
type writer struct {
	client rest.Interface
	tenure *tenure
}

func newWriter(api *rest.Config, t *tenure) (*writer, error) {
	types := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(types); err != nil {
		return nil, fmt.Errorf("register the API types: %w", err)
	}
	config := rest.CopyConfig(api)
	// The client's own limit of 5 requests/s is for scripts; the API server's
	// fairness is what limits a controller.
	config.QPS = -1
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.NegotiatedSerializer = serializer.NewCodecFactory(types).WithoutConversion()
	config.Wrap(t.guard)
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("prepare the writer of status: %w", err)
	}

	return &writer{client: client, tenure: t}, nil
}

// status applies the status to the very object that it was computed from: the
// resource version keeps a pause that was deleted and created again under its
// name from inheriting it, and a status that was computed earlier from undoing a
// later one.
func (w *writer) status(
	ctx context.Context, object *v1alpha1.RtpStreamPause, status *v1alpha1.RtpStreamPauseStatus,
) error {
	configuration, err := json.Marshal(applyconfiguration.RtpStreamPause(object.Name, object.Namespace).
		WithResourceVersion(object.ResourceVersion).WithStatus(applied(status)))
	if err != nil {
		return fmt.Errorf("encode the status of %s/%s: %w", object.Namespace, object.Name, err)
	}
	ctx, cancel := w.tenure.bound(ctx, writeTimeout)
	defer cancel()
	err = w.client.Patch(types.ApplyPatchType).
		Namespace(object.Namespace).Resource(v1alpha1.Plural).Name(object.Name).SubResource("status").
		Param("fieldManager", fieldOwner).Param("force", "true").
		Body(configuration).Do(ctx).Error()

	return w.outcome(err, "write the status of", object)
}

// applied is all of the status as the manager owns it: what it leaves out is
// removed.
func applied(status *v1alpha1.RtpStreamPauseStatus) *applyconfiguration.RtpStreamPauseStatusApplyConfiguration {
	result := applyconfiguration.RtpStreamPauseStatus().WithObservedGeneration(status.ObservedGeneration)
	if status.EnforcedGeneration != 0 {
		result.WithEnforcedGeneration(status.EnforcedGeneration)
	}
	if status.MediaServer != "" {
		result.WithMediaServer(status.MediaServer)
	}
	if status.DisconnectedAt != nil {
		result.WithDisconnectedAt(*status.DisconnectedAt)
	}
	for _, c := range status.Conditions {
		result.WithConditions(metav1ac.Condition().
			WithType(c.Type).WithStatus(c.Status).WithObservedGeneration(c.ObservedGeneration).
			WithLastTransitionTime(c.LastTransitionTime).WithReason(c.Reason).WithMessage(c.Message))
	}

	return result
}

// remove deletes the very object that was judged, not one of the same name, nor
// one that has been edited since.
func (w *writer) remove(ctx context.Context, object *v1alpha1.RtpStreamPause) error {
	ctx, cancel := w.tenure.bound(ctx, writeTimeout)
	defer cancel()
	err := w.client.Delete().
		Namespace(object.Namespace).Resource(v1alpha1.Plural).Name(object.Name).
		Body(&metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &object.UID, ResourceVersion: &object.ResourceVersion},
		}).
		Do(ctx).Error()

	return w.outcome(err, "delete", object)
}

func (w *writer) outcome(err error, what string, object *v1alpha1.RtpStreamPause) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return errGone
	case apierrors.IsConflict(err):
		return errStale
	case w.tenure.left() <= 0:
		return errOutOfOffice
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s %s/%s: %w; bind the role nagi-manager to the manager's ServiceAccount in this namespace",
			what, object.Namespace, object.Name, err)
	default:
		return fmt.Errorf("%s %s/%s: %w", what, object.Namespace, object.Name, err)
	}
}
