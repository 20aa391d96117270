package tables

import (
	"context"
	"time"
)

const (
	// regressAfter is how long no fresh replica must stand up for the table held
	// before an older one is adopted.
	regressAfter = 10 * time.Second
	// watchInterval is how often that is looked at.
	watchInterval = time.Second
)

// watchVersions applies the rule for restored backups, tries refused channels
// again and forgets channels that are hosted no longer, until ctx ends.
func (s *Subscriber) watchVersions(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.retryRefused()
			s.lookAtVersions()
		}
	}
}

func (s *Subscriber) lookAtVersions() {
	hosted := make(map[string]struct{})
	for _, id := range s.host.Hosted() {
		hosted[id] = struct{}{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	regressed := 0
	for id, c := range s.channels {
		if _, ok := hosted[id]; !ok {
			// Gone at two looks: one alone may have been taken before the
			// channel was hosted and a table arrived.
			if c.absent && !c.settling {
				delete(s.channels, id)
			}
			c.absent = true

			continue
		}
		c.absent = false
		switch {
		case c.held == nil || !s.outlived(c):
			c.belowSince = time.Time{}
		case c.belowSince.IsZero():
			c.belowSince = time.Now()
		case time.Since(c.belowSince) >= regressAfter:
			c.belowSince, c.adopt = time.Time{}, true
			s.settle(id)
			regressed++
		}
	}
	if regressed > 0 {
		s.beginEra()
		s.config.Log.Warn("no manager that hears from the API server stands up for the tables held, "+
			"as after a restored backup; adopting theirs",
			"channels", regressed)
	}
}

// outlived tells whether the table held seems to be of a history that is no more:
// every fresh replica is at an older version, or says something else though it has
// come past that version. What stale ones say is no matter: they may be at any
// version of that history. mu is held.
func (s *Subscriber) outlived(c *channel) bool {
	contradicted := false
	for st := range s.streams {
		e := st.exchanges[c.id]
		switch {
		case !st.fresh():
		case st.version < c.held.version:
			contradicted = true
		case e == nil || e.instance != c.held.instance || e.statement == nil && e.refused.IsZero():
			// Its table is still to come.
			return false
		case e.statement == nil:
		case e.statement.version >= c.held.version || len(e.statement.differs) == 0:
			return false
		default:
			contradicted = true
		}
	}

	return contradicted
}

// beginEra has the tables of stale replicas replace none that is held, until they
// vouch for them again. mu is held.
func (s *Subscriber) beginEra() {
	s.era++
	for st := range s.streams {
		if st.fresh() {
			st.era = s.era
		}
	}
}
