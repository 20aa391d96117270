package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// Knowledge is what a replica knows of pauses and media servers; serve.Server.
type Knowledge interface {
	Ready() error
	Watch(enqueue func(types.NamespacedName)) (stop func())
	Pause(name types.NamespacedName) *v1alpha1.RtpStreamPause
	MediaServers(namespace, channelID, uid string) []tables.MediaServer
	MediaServersStreaming(namespace string) int
	Departed(namespace, connectionID string) (time.Time, bool)
	Complete(namespace, mediaServer string) (at time.Time, known bool)
}

const (
	// fieldOwner is the field manager of the status.
	fieldOwner = "nagi-manager"
	// conflictRetry is when to compute again what was computed from an object that
	// has changed since. The watch brings the change, and with it the next try, long
	// before, unless it is broken; then asking more often would only conflict more.
	conflictRetry = time.Second
	// soonestWake keeps a clock that is slightly off from spinning.
	soonestWake = 50 * time.Millisecond
)

// +kubebuilder:rbac:groups=rtp.nagi.dev,resources=rtpstreampauses,verbs=list;watch;delete
// +kubebuilder:rbac:groups=rtp.nagi.dev,resources=rtpstreampauses/status,verbs=patch

// reconciler writes status, expires and collects during one term of office.
type reconciler struct {
	knowledge       Knowledge
	client          client.Client
	log             *slog.Logger
	metrics         *metrics
	inOffice        time.Time
	mediaServerLost time.Duration
}

// Reconcile brings one pause's status up to date and deletes the pause when its
// time has come.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	object := r.knowledge.Pause(request.NamespacedName)
	if object == nil || object.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	now := time.Now()
	servers := r.knowledge.MediaServers(object.Namespace, object.Spec.ChannelID, string(object.UID))
	verdict := tables.Judge(tables.Pause(object), servers, r.inOffice, now)
	left, again := r.departure(object, servers, now)
	next := soonest(verdict.Until, again)

	status := nextStatus(object, verdict, servers, r.knowledge.MediaServersStreaming(object.Namespace))
	if known := r.inOffice.Add(tables.OfficeBeforeArmed); now.Before(known) && !certain(verdict) && written(object) {
		// A writer new in office leaves what its predecessor knew until it can know
		// better itself; else each election would rewrite every status twice.
		status = *object.Status.DeepCopy()
		next = soonest(next, known)
	}
	status.DisconnectedAt = nil
	if !left.IsZero() {
		status.DisconnectedAt = wholeSeconds(left)
	}
	if !equality.Semantic.DeepEqual(status, object.Status) {
		return after(now, next), r.write(ctx, object, status, verdict)
	}
	if object.Spec.DeleteAfterDisconnect != nil && status.DisconnectedAt != nil {
		due := status.DisconnectedAt.Add(object.Spec.DeleteAfterDisconnect.Duration)
		if !now.Before(due) {
			return reconcile.Result{}, r.collect(ctx, object)
		}
		next = soonest(next, due)
	}

	return after(now, next), nil
}

// certain tells that the verdict needs no knowledge of every media server.
func certain(verdict tables.Verdict) bool {
	return verdict.Reason == v1alpha1.ReasonEnforced || verdict.Reason == v1alpha1.ReasonExpired
}

// written tells that the status is of the present generation.
func written(object *v1alpha1.RtpStreamPause) bool {
	return object.Status.ObservedGeneration == object.Generation && len(object.Status.Conditions) > 0
}

func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}

	return a
}

func after(now, next time.Time) reconcile.Result {
	if next.IsZero() {
		return reconcile.Result{}
	}

	return reconcile.Result{RequeueAfter: max(next.Sub(now), soonestWake)}
}

// write applies the status to the very object that it was computed from: without
// the resource version, a pause that was deleted and created again under its name
// would inherit it.
func (r *reconciler) write(ctx context.Context, object *v1alpha1.RtpStreamPause, status v1alpha1.RtpStreamPauseStatus, verdict tables.Verdict) error {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&status)
	if err != nil {
		return fmt.Errorf("encode the status of %s/%s: %w", object.Namespace, object.Name, err)
	}
	configuration := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(),
		"kind":       "RtpStreamPause",
		"metadata": map[string]any{
			"name": object.Name, "namespace": object.Namespace, "resourceVersion": object.ResourceVersion,
		},
		"status": fields,
	}}
	err = r.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(configuration), client.FieldOwner(fieldOwner), client.ForceOwnership)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		return errStale
	case err != nil:
		return fmt.Errorf("write the status of %s/%s: %w", object.Namespace, object.Name, err)
	}
	r.metrics.statusWrites.Inc()
	if verdict.Reason == v1alpha1.ReasonExpired && !expiredAlready(object) {
		r.metrics.expired.Inc()
	}

	return nil
}

func expiredAlready(object *v1alpha1.RtpStreamPause) bool {
	for _, condition := range object.Status.Conditions {
		if condition.Type == v1alpha1.ConditionReady {
			return condition.Reason == v1alpha1.ReasonExpired
		}
	}

	return false
}

// collect deletes the very object that was judged, not one of the same name.
func (r *reconciler) collect(ctx context.Context, object *v1alpha1.RtpStreamPause) error {
	err := r.client.Delete(ctx, object.DeepCopy(), client.Preconditions{UID: &object.UID, ResourceVersion: &object.ResourceVersion})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		return errStale
	case err != nil:
		return fmt.Errorf("delete %s/%s after disconnect: %w", object.Namespace, object.Name, err)
	}
	r.metrics.collected.Inc()
	r.log.Info("deleted after disconnect", "namespace", object.Namespace, "name", object.Name)

	return nil
}
