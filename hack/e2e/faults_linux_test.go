package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ordeal is a fault of real processes that befalls the system under its steady load,
// again and again.
type ordeal struct {
	name   string
	rounds int
	length time.Duration // Between strike and heal.
	// strike and heal are told the round. After heal the fault is over.
	strike, heal func(t *testing.T, l *load, round int)
	// rewrites: it changes what is asked for, behind the back of who asked.
	rewrites bool
}

// TestFaults strikes a system of two managers, two shims and three media servers in
// every way that there is, under a steady load, and proves that no packet leaves on
// an edge after anybody said that none does, that nobody says so who cannot know, and
// that everything agrees again soon after. Every fault prints one line of JSON.
//
//	make test-faults ROUNDS=2
func TestFaults(t *testing.T) {
	t.Parallel()
	stepped := ""
	if *allFaults {
		stepped = t.TempDir()
		buildStepped(t, stepped, "../../cmd/manager", "../../cmd/shim", "../../cmd/mediaserver")
	}
	var starting sync.Mutex // Systems start one after another.
	for name, ordeals := range groups() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			starting.Lock()
			s := func() *system {
				defer starting.Unlock()

				return own(t, layout{
					managers: 2, shims: 2, mediaServers: 3, mediaServerArgs: []string{"--without-table=hold"}, stepped: stepped,
					guarded: true, managerArgs: []string{"--namespaces=" + elsewhere},
					prepare: func(s *system) error {
						return s.api.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}})
					},
				})
			}()
			l := newLoad(t, s)
			l.begin()
			for _, o := range ordeals {
				if !t.Run(o.name, func(t *testing.T) { o.run(t, l) }) {
					return // What is struck stays so.
				}
			}
		})
	}
}

// groups are the ordeals that one system each bears, one after another.
func groups() map[string][]ordeal {
	if !*allFaults {
		return map[string][]ordeal{"short": slices.Concat(kills(1), rogues(1))}
	}
	n := *rounds
	stops := max(1, n/5)

	return map[string][]ordeal{
		"programs": slices.Concat(kills(n), freezes(n, shortFreeze), streams(n)),
		"cluster":  slices.Concat(outages(stops), freezes(stops, longFreeze)),
		"data":     slices.Concat(rogues(n), skews(n), rewrites(n)),
	}
}

// run strikes and heals in each round, and tells what came of it.
func (o ordeal) run(t *testing.T, l *load) {
	t.Helper()
	var found verdict
	var took []converged
	for round := range o.rounds {
		l.proceed(t, 500*time.Millisecond)
		l.healthy()
		o.strike(t, l, round)
		l.look()
		l.proceed(t, o.length)
		o.heal(t, l, round)
		healed := time.Now()
		l.look()
		l.shut(t)
		if o.rewrites {
			l.adopt(t)
		}
		took = append(took, l.converge(t, healed))
		if o.rewrites {
			l.settle()
		}
		l.gate.Unlock()
		found.add(l.judge())
		if some := found.findings; len(some) > 0 {
			t.Errorf("round %d: %d findings: %s", round, len(some), strings.Join(some[:min(len(some), 20)], "; "))
		}
		if t.Failed() {
			break
		}
	}
	o.tell(t, found, took)
}

// proceed lets the load go on for a while.
func (l *load) proceed(t *testing.T, length time.Duration) {
	t.Helper()
	during(t, length, func() {})
}

// report is what is told of one ordeal.
type report struct {
	Fault           string  `json:"fault"`
	Rounds          int     `json:"rounds"`
	EdgesP50        float64 `json:"edges_converge_p50_seconds"`
	EdgesMax        float64 `json:"edges_converge_max_seconds"`
	ConvergeP50     float64 `json:"converge_p50_seconds"`
	ConvergeMax     float64 `json:"converge_max_seconds"`
	PacketsLeaked   int     `json:"packets_leaked"`
	PacketsSeen     int     `json:"packets_seen"`
	PacketsWithheld int     `json:"packets_withheld"`
	StatusesChecked int     `json:"statuses_checked"`
	Overclaims      int     `json:"overclaims"`
}

// tell prints what came of an ordeal.
func (o ordeal) tell(t *testing.T, found verdict, took []converged) {
	t.Helper()
	r := report{
		Fault: o.name, Rounds: len(took),
		PacketsLeaked: found.leaked, PacketsSeen: found.seen, PacketsWithheld: found.withheld,
		StatusesChecked: found.statements, Overclaims: found.overclaims,
	}
	r.EdgesP50, r.EdgesMax = seconds(took, func(c converged) time.Duration { return c.edges })
	r.ConvergeP50, r.ConvergeMax = seconds(took, func(c converged) time.Duration { return c.all })
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(line))
	if found.withheld == 0 || found.statements == 0 {
		t.Errorf("%s: nothing was said, or nothing withheld, so that nothing is proven", o.name)
	}
}

// seconds are the median and the maximum, in milliseconds' precision.
func seconds(took []converged, of func(converged) time.Duration) (p50, most float64) {
	all := make([]float64, 0, len(took))
	for _, c := range took {
		all = append(all, math.Round(of(c).Seconds()*1000)/1000)
	}
	slices.Sort(all)

	return all[len(all)/2], all[len(all)-1]
}
