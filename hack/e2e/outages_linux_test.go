package e2e

import (
	"testing"
	"time"
)

// outages take the API server or etcd away for a while, in turn by ending it and by
// freezing it, so that whoever asks is refused, or not answered.
func outages(rounds int) []ordeal {
	var all []ordeal
	for _, withEtcd := range []bool{false, true} {
		for _, length := range []time.Duration{10 * time.Second, 40 * time.Second} {
			name := "API server"
			if withEtcd {
				name = "etcd"
			}
			all = append(all, ordeal{
				name: name + " stopped for " + length.String(), rounds: rounds, length: length,
				strike: func(t *testing.T, l *load, round int) { l.system.plane.takeAway(t, withEtcd, round%2 == 1) },
				heal:   func(t *testing.T, l *load, round int) { l.system.plane.bringBack(t, withEtcd, round%2 == 1) },
			})
		}
	}

	return all
}
