package claims

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// gate holds up who is told of one namespace, and notes what is told.
type gate struct {
	namespace string
	held      chan struct{}
	arrived   chan struct{}
	once      sync.Once

	mu   sync.Mutex
	told []string
}

func (g *gate) pass(namespace, what string) {
	if namespace == g.namespace {
		g.once.Do(func() { close(g.arrived) })
		<-g.held
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.told = append(g.told, namespace+" "+what)
}

func (g *gate) has(what string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()

	return slices.Contains(g.told, what)
}

// While somebody takes long to be told of one tenant's claims, another's are claimed, found,
// released and heard of as always; what waits is told in order.
func TestWhoIsSlowToBeToldIsInNobodyElsesWay(t *testing.T) {
	own := newNamespace(t)
	const slow, quick = "slow", "quick"
	both := []string{slow, quick}
	other := follow(t, own, func(c *Config) { c.Namespaces = both })
	g := &gate{namespace: slow, held: make(chan struct{}), arrived: make(chan struct{})}
	release := sync.OnceFunc(func() { close(g.held) })
	r := begin(t, own, func(c *Config) {
		c.Namespaces = both
		c.Changed = func(change Change) { g.pass(change.Namespace, change.ChannelID+" "+change.Owner.Name) }
		c.Known = func(namespace string, known bool) { g.pass(namespace, fmt.Sprint(known)) }
	})
	t.Cleanup(release)
	<-g.arrived
	until(t, "claims are followed", func() bool { return r.Followed() == nil && g.has("quick true") })

	a, b := Holder{Name: "a"}, Holder{Name: "b"}
	other.claim(t, slow, "lobby", a, &heard{})
	other.claim(t, quick, "theirs", a, &heard{})
	until(t, "another's claim is heard of", func() bool { return g.has("quick theirs a") })
	r.claim(t, quick, "mine", b, &heard{})
	if !g.has("quick mine b") {
		t.Error("what this replica has written is not told at once")
	}
	if owner, claimed, err := r.Owner(t.Context(), slow, "lobby", &heard{}); err != nil || !claimed || owner != a {
		t.Errorf("located at %v, claimed: %v, %v", owner, claimed, err)
	}
	if err := r.Release(t.Context(), quick, opened(1, "mine"), b); err != nil {
		t.Error(err)
	}
	if !g.has("quick mine ") {
		t.Error("what this replica has released is not told at once")
	}
	if err := other.Release(t.Context(), slow, opened(1, "lobby"), a); err != nil {
		t.Error(err)
	}
	until(t, "it is known to be released", func() bool { return r.count() == 1 })

	release()
	until(t, "the slow one is told too", func() bool { return g.has("slow lobby ") })
	var order []string
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, told := range g.told {
		if strings.HasPrefix(told, slow) {
			order = append(order, told)
		}
	}
	if fmt.Sprint(order) != "[slow true slow lobby a slow lobby ]" {
		t.Errorf("told %q", order)
	}
}
