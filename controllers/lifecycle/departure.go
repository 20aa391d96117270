package lifecycle

import (
	"time"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

// departure returns when the first of the named connections that are missing
// left; zero while none is known to have left. again is when to ask once more.
//
// A connection left when a report says so. Silence is no departure: what nobody
// has seen, or what a media server hosted that is out of touch for less than
// --media-server-lost, may be there.
func (r *reconciler) departure(object *v1alpha1.RtpStreamPause, servers []tables.MediaServer, now time.Time) (left, again time.Time) {
	for i, id := range []*string{object.Spec.RecvConnectionID, object.Spec.SendConnectionID} {
		if id == nil || present(*id, servers) {
			continue
		}
		at, ok := r.knowledge.Departed(object.Namespace, *id)
		if !ok && object.Status.DisconnectedAt != nil {
			at, ok = object.Status.DisconnectedAt.Time, true
		}
		if !ok && seen(object, i == 0) {
			at, again = r.unreported(object, now)
			ok = !at.IsZero()
		}
		if ok && (left.IsZero() || at.Before(left)) {
			left = at
		}
	}
	// The clock that is kept in the status runs on, whichever replica reads it.
	if kept := object.Status.DisconnectedAt; !left.IsZero() && kept != nil && kept.Time.Before(left) {
		left = kept.Time
	}

	return left, again
}

func present(id string, servers []tables.MediaServer) bool {
	for _, server := range servers {
		if find(server.Connections, id) != nil {
			return true
		}
	}

	return false
}

// seen tells from the status, which outlives managers, whether the connection
// was there once: role is that of the receiver, and mediaServer hosted all.
func seen(object *v1alpha1.RtpStreamPause, receiver bool) bool {
	return object.Status.MediaServer != "" || receiver && object.Status.Role != ""
}

// unreported dates the leaving of a connection that was seen once and that no
// manager was there to see leave: at the complete report of its media server in
// which it is missing, or once that one has been out of touch for too long.
func (r *reconciler) unreported(object *v1alpha1.RtpStreamPause, now time.Time) (left, again time.Time) {
	complete, known := r.knowledge.Complete(object.Namespace, object.Status.MediaServer)
	switch lost := r.inOffice.Add(r.mediaServerLost); {
	case !complete.IsZero():
		return complete, time.Time{}
	case known:
		// Its report, or its being given up, brings this pause back.
		return time.Time{}, time.Time{}
	case now.Before(lost):
		return time.Time{}, lost
	default:
		return lost, time.Time{}
	}
}
