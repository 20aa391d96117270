package knowledge

import (
	"time"

	"github.com/nagi-rtc/nagi/controllers/held"
)

// Departure tells when the last of the connections that the first fully departed
// side of the pause names by connectionIDs left; zero while no side is fully
// departed. again is when to ask once more; zero: when Watch says so.
//
// A connection left when a report says so. Silence is no departure: what nobody
// has seen, or what a media server hosted that is out of touch for less than
// --media-server-lost, may be there. No connection counts as gone before the
// pause named it, so that an edit starts anew; what status.disconnectedAt says of
// the present generation goes on, whichever replica reads it.
func (t *Tenant) Departure(pause *held.Pause, inOffice, now time.Time) (left, again time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := departure{t: t, pause: pause, inOffice: inOffice, now: now}
	if pause.Status.ObservedGeneration == pause.Generation {
		d.written = &pause.Status
	}
	for _, side := range []held.Side{pause.Spec.Receivers, pause.Spec.Senders} {
		if at := d.side(side.ConnectionIDs); !at.IsZero() && (left.IsZero() || at.Before(left)) {
			left = at
		}
	}
	if !left.IsZero() {
		return left, time.Time{}
	}

	return left, d.again
}

type departure struct {
	t             *Tenant
	pause         *held.Pause
	written       *held.Status // of the present generation; nil: none
	inOffice, now time.Time
	again         time.Time
}

// side is when the last of the connections left; zero when one is there, or was
// never seen.
func (d *departure) side(ids []string) time.Time {
	if len(ids) == 0 {
		return time.Time{}
	}
	var last time.Time
	unknown := false
	for _, id := range ids {
		if d.present(id) {
			return time.Time{}
		}
		at, known := d.t.departed.at[id]
		if !known && len(ids) == 1 {
			at = d.unreported()
			known = !at.IsZero()
		}
		unknown = unknown || !known
		if at.After(last) {
			last = at
		}
	}
	if kept := d.kept(); !kept.IsZero() && (unknown || kept.Before(last)) {
		return kept
	}
	if unknown {
		return time.Time{}
	}

	return d.named(last)
}

// present tells that the connection is there, or may be: of a channel that is
// refused, nobody is known.
func (d *departure) present(id string) bool {
	c := d.t.channels[d.pause.Spec.ChannelID]
	if c == nil {
		return false
	}
	for _, h := range c.hosts {
		if h.connections[id] != nil || h.refused != "" {
			return true
		}
	}

	return false
}

// kept is the departure that a writer has found before; zero: none.
func (d *departure) kept() time.Time {
	if d.written == nil || d.written.DisconnectedAt == nil {
		return time.Time{}
	}

	return d.written.DisconnectedAt.Time
}

// named is the time given, but not before the pause named the connections.
func (d *departure) named(at time.Time) time.Time {
	if e := d.t.byUID[d.pause.UID]; e != nil && e.since.After(at) {
		return e.since
	}

	return at
}

// unreported dates the leaving of a connection that was seen once, as the status
// tells, which outlives managers, and that no manager was there to see leave: at
// the complete report of its media server in which it is missing, or once that
// one has been out of touch for too long. Of several connections the status does
// not tell which were seen.
func (d *departure) unreported() time.Time {
	if d.written == nil || d.written.MediaServer == "" || d.written.EnforcedGeneration != d.pause.Generation {
		return time.Time{}
	}
	server := d.t.servers[d.written.MediaServer]
	switch {
	case server == nil:
	case server.untold:
		// It may be in one of the channels that nothing is known of.
		return time.Time{}
	default:
		// Zero: its report, or its being given up, brings this pause back.
		return server.complete
	}
	lost := d.inOffice.Add(d.t.config.MediaServerLost)
	if at, givenUp := d.t.givenUp.at[d.written.MediaServer]; givenUp && at.Before(lost) {
		lost = at
	}
	if d.now.Before(lost) {
		d.again = lost

		return time.Time{}
	}

	return lost
}
