package e2e

import (
	"testing"
	"time"
)

const (
	// shortFreeze is less than it takes to be given up; longFreeze is more than any
	// lease, keep-alive and client's patience.
	shortFreeze = 2 * time.Second
	longFreeze  = 40 * time.Second
)

// victim is a kind of program, one of which is struck in each round.
type victim struct {
	name string
	of   func(s *system, round int) *program
	// start starts it again after a kill.
	start func(t *testing.T, s *system, round int) error
	// hosts are the channels that nobody knows of meanwhile.
	hosts func(t *testing.T, l *load, round int) []string
}

func victims() []victim {
	none := func(*testing.T, *load, int) []string { return nil }

	return []victim{
		{
			name: "manager",
			of:   func(s *system, round int) *program { return s.managers[round%len(s.managers)].program },
			start: func(t *testing.T, s *system, round int) error {
				return s.startManager(t.Context(), s.managers[round%len(s.managers)])
			},
			hosts: none,
		},
		{
			name: "media server",
			of:   func(s *system, round int) *program { return s.mediaServers[round%len(s.mediaServers)].program },
			start: func(t *testing.T, s *system, round int) error {
				return s.startMediaServer(t.Context(), s.mediaServers[round%len(s.mediaServers)])
			},
			hosts: func(t *testing.T, l *load, round int) []string {
				t.Helper()

				return l.hostedBy(t, l.system.mediaServers[round%len(l.system.mediaServers)].name)
			},
		},
		{
			name: "shim",
			of:   func(s *system, round int) *program { return s.shims[round%len(s.shims)].program },
			start: func(t *testing.T, s *system, round int) error {
				return s.startShim(t.Context(), s.shims[round%len(s.shims)])
			},
			hosts: none,
		},
	}
}

// kills end each kind of program without a goodbye and start it again at once.
func kills(rounds int) []ordeal {
	var all []ordeal
	for _, v := range victims() {
		var since time.Time
		var unknown []string
		all = append(all, ordeal{
			name: v.name + " killed", rounds: rounds, length: 300 * time.Millisecond,
			strike: func(t *testing.T, l *load, round int) {
				t.Helper()
				unknown = v.hosts(t, l, round)
				v.of(l.system, round).kill()
				since = time.Now()
			},
			heal: func(t *testing.T, l *load, round int) {
				t.Helper()
				l.silence(unknown, since, time.Now())
				if err := v.start(t, l.system, round); err != nil {
					t.Fatal(err)
				}
			},
		})
	}

	return all
}

// freezes stop each kind of program where it is and let it go on.
func freezes(rounds int, length time.Duration) []ordeal {
	var all []ordeal
	for _, v := range victims() {
		var since time.Time
		var unknown []string
		all = append(all, ordeal{
			name: v.name + " frozen for " + length.String(), rounds: rounds, length: length,
			strike: func(t *testing.T, l *load, round int) {
				t.Helper()
				unknown = v.hosts(t, l, round)
				p := v.of(l.system, round)
				p.freeze(t)
				awaitStopped(t, p.PID())
				since = time.Now()
			},
			heal: func(t *testing.T, l *load, round int) {
				t.Helper()
				l.silence(unknown, since, time.Now())
				v.of(l.system, round).thaw(t)
			},
		})
	}

	return all
}

// streams strike the connections between programs, in turn those of one manager to
// media servers, of the other, of both, of a manager to the API server, and of shims.
func streams(rounds int) []ordeal {
	struck := func(l *load, round int) (relays []*relay, hosts []string) {
		s := l.system
		m := s.managers[round/5%len(s.managers)]
		switch round % 5 {
		case 0:
			for _, m := range s.managers {
				relays = append(relays, m.mediaServers)
			}

			return relays, l.channels
		case 1, 2:
			return []*relay{s.managers[round%2].mediaServers}, nil
		case 3:
			return []*relay{m.api}, nil
		}

		return []*relay{m.shims, s.shims[0].api}, nil
	}
	var targets []string
	var since time.Time

	return []ordeal{
		{
			name: "streams cut", rounds: rounds, length: time.Second,
			strike: func(_ *testing.T, l *load, round int) {
				relays, _ := struck(l, round)
				targets = nil
				for _, r := range relays {
					targets = append(targets, r.opened())
					r.cut()
				}
				since = time.Now()
			},
			heal: func(_ *testing.T, l *load, round int) {
				relays, hosts := struck(l, round)
				l.silence(hosts, since, time.Now())
				for i, r := range relays {
					r.to(targets[i])
				}
			},
		},
		{
			name: "streams delayed by 300ms", rounds: rounds, length: 2 * time.Second,
			strike: func(_ *testing.T, l *load, round int) {
				relays, _ := struck(l, round)
				for _, r := range relays {
					r.slow(300 * time.Millisecond)
				}
			},
			heal: func(_ *testing.T, l *load, round int) {
				relays, _ := struck(l, round)
				for _, r := range relays {
					r.slow(0)
				}
			},
		},
		{
			name: "streams half-open", rounds: rounds, length: 7 * time.Second,
			strike: func(_ *testing.T, l *load, round int) {
				relays, _ := struck(l, round)
				for _, r := range relays {
					r.hold()
				}
				since = time.Now()
			},
			heal: func(_ *testing.T, l *load, round int) {
				relays, hosts := struck(l, round)
				l.silence(hosts, since, time.Now())
				for _, r := range relays {
					r.pass()
				}
			},
		},
	}
}
