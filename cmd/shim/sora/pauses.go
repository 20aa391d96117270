package sora

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// +kubebuilder:rbac:groups=rtp.nagi.dev,resources=rtpstreampauses,verbs=get;list;create;delete

const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "nagi-shim"
	// deleteAfterDisconnect lets a pause end with its connections, as Sora's do:
	// connection ids never come back.
	deleteAfterDisconnect = time.Minute
	// maxChannelBytes is the longest channel id that the API server accepts.
	maxChannelBytes = 255
	// replaceInterval is the pause before creating again under a name that is
	// still taken.
	replaceInterval = 20 * time.Millisecond
)

// edge is what a request names: the stream of one connection to another.
type edge struct {
	channel, recv, send string
}

func edgeOf(arguments map[string]string) edge {
	return edge{arguments["channel_id"], arguments["recv_connection_id"], arguments["send_connection_id"]}
}

// name is derived from the edge, so that equal requests meet in one object. The
// lengths keep ("ab", "c") apart from ("a", "bc").
func (e edge) name() string {
	hash := sha256.New()
	for _, part := range []string{e.channel, e.recv, e.send} {
		// A hash never fails to take bytes.
		_ = binary.Write(hash, binary.BigEndian, uint64(len(part)))
		_, _ = hash.Write([]byte(part))
	}
	return "pause-" + hex.EncodeToString(hash.Sum(nil))[:40]
}

// pauses are the tenant's RtpStreamPause objects in the API server.
type pauses struct {
	namespace string
	client    client.Client
}

// ensure makes an object in force that pauses exactly the edge's video, and
// returns its uid. One that is there already is shared; one that is expired, on
// its way out or different is replaced.
func (p pauses) ensure(ctx context.Context, e edge) (types.UID, error) {
	ctx, cancel := context.WithTimeout(ctx, kubernetesTimeout)
	defer cancel()
	for {
		uid, err := p.tryEnsure(ctx, e)
		if uid != "" || err != nil {
			return uid, err
		}
		select {
		case <-ctx.Done():
			return "", explained(http.StatusServiceUnavailable, notConfirmed,
				fmt.Sprintf("another object is still being deleted under the name of this pause after %v: remove its finalizers", kubernetesTimeout),
				"name", e.name())
		case <-time.After(replaceInterval):
		}
	}
}

// tryEnsure makes one attempt. An empty uid without an error: the name was just
// freed, or is about to be.
func (p pauses) tryEnsure(ctx context.Context, e edge) (types.UID, error) {
	wanted := p.object(e)
	err := p.client.Create(ctx, wanted)
	if err == nil {
		return wanted.UID, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return "", kubernetesFailure("create "+wanted.Name, err)
	}

	var found v1alpha1.RtpStreamPause
	switch err := p.client.Get(ctx, client.ObjectKeyFromObject(wanted), &found); {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", kubernetesFailure("get "+wanted.Name, err)
	case found.DeletionTimestamp == nil && pausesExactly(&found, e) && endsWithConnections(&found):
		return found.UID, nil
	}
	return "", p.delete(ctx, &found)
}

// delete deletes exactly this object: a newer one under its name stays.
func (p pauses) delete(ctx context.Context, pause *v1alpha1.RtpStreamPause) error {
	err := p.client.Delete(ctx, pause, client.Preconditions{UID: &pause.UID})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return kubernetesFailure("delete "+pause.Name, err)
}

// ofChannel lists the channel's pauses from etcd itself, not from a cache. The
// selector is matched byte for byte: client-go escapes what has a meaning in it.
func (p pauses) ofChannel(ctx context.Context, channelID string) ([]v1alpha1.RtpStreamPause, error) {
	if channelID == "" || len(channelID) > maxChannelBytes {
		// The API server would have refused it; an over-long address it refuses too.
		return nil, nil
	}
	var list v1alpha1.RtpStreamPauseList
	if err := p.client.List(ctx, &list, client.InNamespace(p.namespace), client.MatchingFields{"spec.channelID": channelID}); err != nil {
		return nil, kubernetesFailure("list the channel's pauses", err)
	}
	return list.Items, nil
}

func (p pauses) object(e edge) *v1alpha1.RtpStreamPause {
	return &v1alpha1.RtpStreamPause{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.namespace,
			Name:      e.name(),
			Labels:    map[string]string{managedByLabel: managedBy},
		},
		Spec: v1alpha1.RtpStreamPauseSpec{
			ChannelID:             e.channel,
			RecvConnectionID:      &e.recv,
			SendConnectionID:      &e.send,
			DeleteAfterDisconnect: &metav1.Duration{Duration: deleteAfterDisconnect},
		},
	}
}

// pausesExactly tells whether the object names this edge by both connection ids
// and pauses video alone.
func pausesExactly(pause *v1alpha1.RtpStreamPause, e edge) bool {
	spec := &pause.Spec
	return spec.ChannelID == e.channel && isID(spec.RecvConnectionID, e.recv) && isID(spec.SendConnectionID, e.send) &&
		pausesVideo(pause) && len(spec.Kinds) <= 1
}

// endsWithConnections tells whether the object lasts exactly as long as one that
// the shim makes.
func endsWithConnections(pause *v1alpha1.RtpStreamPause) bool {
	spec := &pause.Spec
	return spec.ExpiresAt == nil && spec.DeleteAfterDisconnect != nil && spec.DeleteAfterDisconnect.Duration == deleteAfterDisconnect
}

func pausesVideo(pause *v1alpha1.RtpStreamPause) bool {
	return len(pause.Spec.Kinds) == 0 || slices.Contains(pause.Spec.Kinds, v1alpha1.KindVideo)
}

// inForce tells whether the object acts at the time now. One that is being
// deleted does not: a finalizer of somebody else keeps no stream paused.
func inForce(pause *v1alpha1.RtpStreamPause, now time.Time) bool {
	return pause.DeletionTimestamp == nil && (pause.Spec.ExpiresAt == nil || now.Before(pause.Spec.ExpiresAt.Time))
}

func isID(id *string, want string) bool { return id != nil && *id == want }
