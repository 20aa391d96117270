package tables

import (
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const (
	// KnownAfterLoss is how long a media server that is out of touch still counts
	// as hosting what it reported last.
	KnownAfterLoss = 30 * time.Second
	// OfficeBeforeArmed is how long the asker must have listened before the
	// absence of a matching edge is knowledge and not ignorance.
	OfficeBeforeArmed = 5 * time.Second
)

// MediaServer is what one media server said of one channel and one pause.
type MediaServer struct {
	Name string
	// LostSince is when it went out of touch; zero while it streams.
	LostSince time.Time
	// Connections are all that it reported for the channel.
	Connections []*forwardingv1.Connection
	// Acknowledgement is what it said last of the pause; nil when nothing.
	Acknowledgement *forwardingv1.PauseAcknowledgement
	// AcknowledgedAfter is the time from learning of the pause's generation to
	// its first acknowledgement; zero when unknown.
	AcknowledgedAfter time.Duration
}

// Hosted is a media server with the number of its live edges that a pause
// matches, and how many of those it has acknowledged.
type Hosted struct {
	MediaServer  *MediaServer
	Matched      int
	Acknowledged int
}

// Verdict is where a pause stands.
type Verdict struct {
	// Reason is one of the reasons of the Ready condition.
	Reason string
	// Enforced, Waiting and Lost are the media servers with matching edges that
	// have acknowledged all of them, that have not, and that are out of touch.
	Enforced, Waiting, Lost []Hosted
	// Until is when the passing of time alone changes the verdict; zero: never.
	Until time.Time
}

// Judge tells where the pause stands at the time now, by what the media servers
// of its namespace said of its channel. listening is since when the asker has
// taken reports.
func Judge(pause *forwardingv1.Pause, servers []MediaServer, listening, now time.Time) Verdict {
	if pause.ExpiredAt(now) {
		return Verdict{Reason: v1alpha1.ReasonExpired}
	}

	var verdict Verdict
	if pause.GetExpiresAt() != nil {
		verdict.until(pause.GetExpiresAt().AsTime())
	}
	for i := range servers {
		verdict.count(pause, &servers[i], now)
	}

	switch known := listening.Add(OfficeBeforeArmed); {
	case len(verdict.Waiting) > 0:
		verdict.Reason = v1alpha1.ReasonNotAcknowledged
	case len(verdict.Lost) > 0:
		verdict.Reason = v1alpha1.ReasonMediaServerLost
	case len(verdict.Enforced) > 0:
		verdict.Reason = v1alpha1.ReasonEnforced
	case now.Before(known):
		verdict.Reason = v1alpha1.ReasonStarting
		verdict.until(known)
	default:
		verdict.Reason = v1alpha1.ReasonArmed
	}

	return verdict
}

func (v *Verdict) count(pause *forwardingv1.Pause, server *MediaServer, now time.Time) {
	forgotten := server.LostSince.Add(KnownAfterLoss)
	if !server.LostSince.IsZero() && !now.Before(forgotten) {
		return
	}
	hosted := Hosted{MediaServer: server}
	hosted.Matched, hosted.Acknowledged = edges(pause, server)
	switch {
	case hosted.Matched == 0:
	case !server.LostSince.IsZero():
		v.Lost = append(v.Lost, hosted)
		v.until(forgotten)
	case hosted.Acknowledged < hosted.Matched:
		v.Waiting = append(v.Waiting, hosted)
	default:
		v.Enforced = append(v.Enforced, hosted)
	}
}

func (v *Verdict) until(t time.Time) {
	if v.Until.IsZero() || t.Before(v.Until) {
		v.Until = t
	}
}

// edges counts the live edges of the server that the pause matches, and those
// among them that an acknowledgement of this generation, or a newer one, names.
func edges(pause *forwardingv1.Pause, server *MediaServer) (matched, acknowledged int) {
	type edge struct{ receiver, sender string }
	named := map[edge]bool{}
	if a := server.Acknowledgement; a.GetUid() == pause.GetUid() && a.GetGeneration() >= pause.GetGeneration() {
		for _, e := range a.GetEdges() {
			named[edge{e.GetRecvConnectionId(), e.GetSendConnectionId()}] = true
		}
	}
	for receiver, sender := range MatchingEdges(pause, server.Connections) {
		matched++
		if named[edge{receiver.GetConnectionId(), sender.GetConnectionId()}] {
			acknowledged++
		}
	}

	return matched, acknowledged
}

// MatchingEdges yields receiver and sender of each live edge between the
// connections that the pause matches.
func MatchingEdges(pause *forwardingv1.Pause, connections []*forwardingv1.Connection) func(yield func(receiver, sender *forwardingv1.Connection) bool) {
	return func(yield func(receiver, sender *forwardingv1.Connection) bool) {
		for _, receiver := range connections {
			if id := pause.GetRecvConnectionId(); id != "" && id != receiver.GetConnectionId() {
				continue
			}
			for _, sender := range connections {
				if forwardingv1.LiveEdge(receiver, sender) && pause.Matches(receiver, sender) && !yield(receiver, sender) {
					return
				}
			}
		}
	}
}
