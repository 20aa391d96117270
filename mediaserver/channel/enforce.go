package channel

import (
	"slices"
	"time"

	"github.com/nagi-rtc/nagi/mediaserver/fanout"
	"github.com/nagi-rtc/nagi/mediaserver/matching"
	"github.com/nagi-rtc/nagi/mediaserver/tables"
)

// recheck is how often the wall clock is looked at while a pause has an end: a
// timer does not notice that the clock was set.
const recheck = 30 * time.Second

// apply makes a table, or what changed in one, what is in force, and returns when
// it is. All of it is one step: an edge that is withheld before and after it stays
// cut in between.
func (ch *channel) apply(table tables.Table) {
	first := ch.sequence == 0
	if first && !table.Whole {
		ch.log.Error("a table's difference came before any table", "version", table.Version)

		return
	}
	removed := table.Removed
	if table.Whole {
		removed = ch.missing(table)
	}
	changes := ch.matcher.Apply(table.Set, removed, ch.wall())
	if first {
		ch.sequence = 1
	}
	said := first || ch.version != table.Version
	ch.version = table.Version
	if !ch.step(changes) && said {
		ch.config.Changed(ch.id)
	}
}

// missing are the uids of pauses that are held and not in the table.
func (ch *channel) missing(table tables.Table) []string {
	in := make(map[string]struct{}, len(table.Set))
	for _, pause := range table.Set {
		in[pause.GetUid()] = struct{}{}
	}
	var missing []string
	for uid := range ch.matcher.Uids() {
		if _, is := in[uid]; !is {
			missing = append(missing, uid)
		}
	}

	return missing
}

// step brings edges to what has changed and returns when the fence has passed;
// then it tells receivers what changed for them, has the states of pauses sent,
// and arms the timer for the next change that time alone will bring. It tells
// whether states changed, and Changed was called for that.
func (ch *channel) step(changes matching.Changes) bool {
	now := time.Now()
	edges := make([]*edge, 0, len(changes.Edges))
	for _, change := range changes.Edges {
		e := ch.byID[change.Receiver].incoming[ch.byID[change.Sender]]
		e.withheld = change.Withheld
		edges = append(edges, e)
	}
	if holding := ch.holds(now); holding != ch.holding {
		ch.holding = holding
		edges = ch.allEdges()
	}
	fence(append(ch.divideAmong(edges, now), edges...), ch.holding)

	for _, e := range edges {
		e.tell(ch.id)
	}
	ch.arm(now)

	return ch.noteStates(changes.Pauses)
}

// fence cuts and releases the edges' streams.
func fence(edges []*edge, hold bool) {
	var changes []fanout.Change
	for _, e := range edges {
		changes = e.appendChanges(changes, hold)
	}
	if len(changes) > 0 {
		fanout.Apply(changes)
	}
}

func (ch *channel) allEdges() []*edge {
	var edges []*edge
	for _, receiver := range ch.members {
		for _, e := range receiver.incoming {
			edges = append(edges, e)
		}
	}

	return edges
}

// noteStates has the states of pauses told. What is told is enforced.
func (ch *channel) noteStates(uids []string) bool {
	if len(uids) == 0 {
		return false
	}
	slices.Sort(uids)
	ch.sequence++
	for _, uid := range slices.Compact(uids) {
		ch.changes.add(ch.sequence, uid, 2*ch.matcher.Len())
	}
	ch.config.Changed(ch.id)

	return true
}

// holds tells whether the media of all edges waits for the first table.
func (ch *channel) holds(now time.Time) bool {
	if ch.sequence > 0 {
		return false
	}
	if now.Before(ch.waitEnds) {
		return true
	}
	if !ch.waitEnded {
		ch.waitEnded = true
		ch.metrics.withoutTable.WithLabelValues(string(ch.config.WithoutTable)).Inc()
		ch.log.Warn("no table arrived in time", "waited", ch.config.TableWait, "then", ch.config.WithoutTable)
	}

	return ch.config.WithoutTable == Hold
}

// arm wakes the channel when the wait for a table ends or the next pause expires.
// The wait is measured; expiry is what the wall clock says, which may be set.
func (ch *channel) arm(now time.Time) {
	if ch.nextChange != nil {
		ch.nextChange.Stop()
		ch.nextChange = nil
	}

	var sleep time.Duration
	switch {
	case ch.sequence == 0 && now.Before(ch.waitEnds):
		sleep = ch.waitEnds.Sub(now)
	case ch.matcher.Expires():
		sleep = recheck
		if next, ok := ch.matcher.NextExpiry(); ok {
			sleep = max(min(next.Sub(ch.wall()), recheck), 0)
		}
	default:
		return
	}
	ch.nextChange = time.AfterFunc(sleep, func() {
		if ch.lock() {
			defer ch.mu.Unlock()
			ch.step(ch.matcher.Advance(ch.wall()))
		}
	})
}
