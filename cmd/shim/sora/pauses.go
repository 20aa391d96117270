package sora

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// +kubebuilder:rbac:groups=rtp.nagi.dev,resources=rtpstreampauses,verbs=get;list;create;update;delete

const (
	// atOnce is how often an object that somebody else has just changed is tried
	// again at once: a new one gets its status at about the same time.
	atOnce = 3
	// againInterval is the pause before each attempt after those.
	againInterval = 20 * time.Millisecond
)

// pauses are the tenant's RtpStreamPause objects in the API server.
type pauses struct {
	namespace string
	client    client.Client
}

// ensure makes the edge's object, and returns it as it is stored. One that is there
// already is shared, and edited where it says something else: an edit is one step,
// so that nothing flows in between. The object names who asked for what it says: of
// callers who ask for the same, the first.
func (p pauses) ensure(ctx context.Context, e edge, caller string) (*v1alpha1.RtpStreamPause, error) {
	var stored *v1alpha1.RtpStreamPause
	err := p.untilSettled(ctx, e, func(ctx context.Context) (err error) {
		stored, err = p.tryEnsure(ctx, e, caller)

		return err
	})

	return stored, err
}

func (p pauses) tryEnsure(ctx context.Context, e edge, caller string) (*v1alpha1.RtpStreamPause, error) {
	wanted := e.object(p.namespace)
	setRequestedBy(wanted, caller)
	err := p.client.Create(ctx, wanted)
	if err == nil {
		return wanted, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, p.failure(ctx, "create "+wanted.Name, err)
	}

	var found v1alpha1.RtpStreamPause
	switch err := p.client.Get(ctx, client.ObjectKeyFromObject(wanted), &found); {
	case apierrors.IsNotFound(err):
		return nil, errChanged
	case err != nil:
		return nil, p.failure(ctx, "get "+wanted.Name, err)
	case !e.made(&found):
		return nil, explained(http.StatusBadRequest, nameTaken,
			"an RtpStreamPause that the shim did not make, or that was edited to name others, has the name of this pause: "+
				"rename or delete it", "name", found.Name)
	case found.DeletionTimestamp != nil && len(found.Finalizers) > 0:
		return nil, explained(http.StatusServiceUnavailable, beingDeleted,
			"the object of this pause is being deleted, acts no longer, and is kept by finalizers: "+
				"whoever set them must remove them",
			"name", found.Name, "finalizers", found.Finalizers)
	case found.DeletionTimestamp != nil:
		return nil, errChanged
	case sameContent(&found.Spec, &wanted.Spec):
		return &found, nil
	}
	found.Spec = wanted.Spec
	setRequestedBy(&found, caller)
	switch err := p.client.Update(ctx, &found); {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil, errChanged
	case err != nil:
		return nil, p.failure(ctx, "update "+wanted.Name, err)
	}

	return &found, nil
}

// deleteMade deletes the edge's object if the shim made it, and tells whether it
// was there. One in deletion acts no longer, whoever keeps it.
//
// It looks first at what the API server has in its cache, which waits for no etcd. The
// cache may be behind, so that only a deletion goes by it, and whatever else it shows
// is looked at again.
func (p pauses) deleteMade(ctx context.Context, e edge) (deleted bool, err error) {
	mayBeOld := &metav1.GetOptions{ResourceVersion: "0"}
	err = p.untilSettled(ctx, e, func(ctx context.Context) error {
		found, err := p.find(ctx, e, mayBeOld)
		old := mayBeOld != nil
		mayBeOld = nil
		if old && found == nil && err == nil {
			found, err = p.find(ctx, e, nil)
			old = false
		}
		if found == nil || err != nil {
			return err
		}
		// A newer object under its name stays, and so does what somebody edits meanwhile
		// to name others.
		switch err := p.client.Delete(ctx, found, client.Preconditions{
			UID: &found.UID, ResourceVersion: &found.ResourceVersion,
		}); {
		case apierrors.IsConflict(err), old && apierrors.IsNotFound(err):
			return errChanged
		case client.IgnoreNotFound(err) != nil:
			return p.failure(ctx, "delete "+e.name(), err)
		}
		deleted = true

		return nil
	})

	return deleted, err
}

// find returns the edge's object if the shim made it, and nil if it is not there.
func (p pauses) find(ctx context.Context, e edge, how *metav1.GetOptions) (*v1alpha1.RtpStreamPause, error) {
	found := &v1alpha1.RtpStreamPause{}
	err := p.client.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: e.name()}, found, &client.GetOptions{Raw: how})
	switch {
	case apierrors.IsNotFound(err), err == nil && !e.made(found):
		return nil, nil //nolint:nilnil // That there is none is an answer.
	case err != nil:
		return nil, p.failure(ctx, "get "+e.name(), err)
	}

	return found, nil
}

// setRequestedBy names who asked for the pause; "" names nobody.
func setRequestedBy(pause *v1alpha1.RtpStreamPause, caller string) {
	if caller == "" {
		delete(pause.Annotations, v1alpha1.RequestedByAnnotation)

		return
	}
	if pause.Annotations == nil {
		pause.Annotations = map[string]string{}
	}
	pause.Annotations[v1alpha1.RequestedByAnnotation] = caller
}

// errChanged is returned by an attempt that met somebody else's.
var errChanged = errors.New("the object was changed meanwhile")

// untilSettled repeats attempts that end with errChanged.
func (p pauses) untilSettled(ctx context.Context, e edge, attempt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, kubernetesTimeout)
	defer cancel()
	for tried := 1; ; tried++ {
		err := attempt(ctx)
		if !errors.Is(err, errChanged) {
			return err
		}
		wait := againInterval
		if tried <= atOnce {
			wait = 0
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", explained(http.StatusServiceUnavailable, kubernetesUnavailable,
				fmt.Sprintf("the object of this pause was changed by others again and again for %v; "+
					"repeat the request", kubernetesTimeout), "name", e.name()), err)
		case <-time.After(wait):
		}
	}
}

// anyName is a name that need not be there.
const anyName = "none"

// version reads the version up to which the collection is committed, from etcd
// itself: with resourceVersion unset no cache may answer. It asks for one name, which
// the API server looks up; of any list with a limit it would count the rest, which
// takes 76 ms for 100,000 objects.
func (p pauses) version(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, kubernetesTimeout)
	defer cancel()
	list := metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RtpStreamPauseList"))
	if err := p.client.List(ctx, &list, client.InNamespace(p.namespace), client.Limit(1), client.MatchingFields{
		"metadata.name": anyName,
	}); err != nil {
		return 0, p.failure(ctx, "read the version of the collection", err)
	}
	version, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	if err != nil {
		return 0, p.failure(ctx, "read the version of the collection", err)
	}

	return version, nil
}

// maxRead bounds the pauses of one edge that one request reads.
const maxRead = 20

// ofVideo returns the names without those of pauses that withhold no video; those
// that cannot be read, or are too many to read, stay.
func (p pauses) ofVideo(ctx context.Context, names []string) []string {
	ctx, cancel := context.WithTimeout(ctx, kubernetesTimeout)
	defer cancel()
	reads := 0

	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		if reads++; reads > maxRead {
			return false
		}
		var pause v1alpha1.RtpStreamPause
		err := p.client.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: name}, &pause)

		return err == nil && !pausesVideo(&pause.Spec)
	})
}

func pausesVideo(spec *v1alpha1.RtpStreamPauseSpec) bool {
	return len(spec.Kinds) == 0 || slices.Contains(spec.Kinds, v1alpha1.KindVideo)
}

// sameContent tells whether two specs of one edge say the same. Video is what
// absent kinds mean.
func sameContent(a, b *v1alpha1.RtpStreamPauseSpec) bool {
	normal := func(spec *v1alpha1.RtpStreamPauseSpec) v1alpha1.RtpStreamPauseSpec {
		copied := *spec.DeepCopy()
		if slices.Equal(copied.Kinds, []v1alpha1.Kind{v1alpha1.KindVideo}) {
			copied.Kinds = nil
		}

		return copied
	}

	return reflect.DeepEqual(normal(a), normal(b))
}

// shortened keeps an overlong id from filling an answer.
func shortened(id string) string {
	if len(id) <= maxIDBytes {
		return id
	}

	return strings.ToValidUTF8(id[:maxIDBytes], "") + "…"
}
