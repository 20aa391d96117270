package tables

import (
	"context"
	"time"
)

const (
	// regressAfter is how long every fresh replica must stay below a held version
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
	highest, known := s.highestVersion()
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
		case !known || c.held == nil || highest >= c.held.version:
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
		s.config.Log.Warn("every manager that hears from the API server is at an older version than the tables held, as after a restored backup; adopting theirs",
			"version", highest, "channels", regressed)
	}
}

// highestVersion returns the highest version that a fresh replica is at; known is
// false when there is none. A stale one may be at any version of a history that is
// no more. mu is held.
func (s *Subscriber) highestVersion() (highest uint64, known bool) {
	for st := range s.streams {
		if st.fresh() {
			highest, known = max(highest, st.version), true
		}
	}
	return highest, known
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
