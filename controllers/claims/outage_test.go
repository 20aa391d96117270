package claims

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// While the API server is away, who owns what is known by heart; nothing is claimed.
func TestAnAPIServerThatIsAway(t *testing.T) {
	namespace := newNamespace(t)
	known := make(chan bool, 10)
	r := follow(t, namespace, func(c *Config) { c.Pods, c.Known = true, func(_ string, k bool) { known <- k } })
	if !<-known {
		t.Fatal("told that they are not known, at first")
	}
	a, b := Holder{"a", "1"}, Holder{"b", "2"}
	r.claim(t, namespace, "lobby", a, &heard{})
	r.way.away.Store(true)
	// The watch ends with its next frame, which somebody else's Lease brings.
	if _, err := k8s.CoordinationV1().Leases(namespace).Create(t.Context(), (&claim{
		namespace: namespace, channelID: "frame", name: NameOf(namespace, "frame"), holder: b,
	}).lease(namespace), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if <-known {
		t.Fatal("told that they are known")
	}
	if err := r.Followed(); err == nil {
		t.Error("claims are followed")
	}
	for _, w := range []*heard{{}, {silence: time.Hour}} {
		if owner, claimed, err := r.Owner(t.Context(), namespace, "lobby", w); err != nil || !claimed || owner != a {
			t.Errorf("located at %v, claimed: %v, %v", owner, claimed, err)
		}
	}
	_, _, unknown := r.Owner(t.Context(), namespace, "frame", &heard{})
	_, _, again := r.Claim(t.Context(), namespace, Opening{"lobby", 1}, a, &heard{}, anybody)
	_, _, others := r.Claim(t.Context(), namespace, Opening{"lobby", 1}, b, &heard{silence: time.Hour}, anybody)
	_, _, fresh := r.Claim(t.Context(), namespace, Opening{"new", 1}, b, &heard{}, anybody)
	for what, err := range map[string]error{
		"located what is not known": unknown,
		"claimed its own again":     again,
		"claimed another's":         others,
		"claimed a new one":         fresh,
		"released":                  r.Release(t.Context(), namespace, opened(1, "lobby"), a),
	} {
		if !errors.Is(err, ErrUnanswerable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := k8s.CoordinationV1().Leases(namespace).Delete(t.Context(), NameOf(namespace, "lobby"),
		metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.way.away.Store(false)
	if !<-known {
		t.Fatal("told that they are not known")
	}
	if r.owner("lobby") != (Holder{}) || r.owner("frame") != b {
		t.Errorf("afterwards %v", r.owners)
	}
	if owner := r.claim(t, namespace, "lobby", b, &heard{}); owner != b {
		t.Errorf("%v owns it", owner)
	}
}

// What one replica does the others learn of, and what a new one finds is all there is.
func TestReplicasAgree(t *testing.T) {
	namespace := newNamespace(t)
	first, second := follow(t, namespace), follow(t, namespace)
	a := Holder{"a/b", "uid"}
	channels := []string{"lobby", "lesson/7", "ねこ\n\x00", "lobby "}
	for _, channelID := range channels {
		first.claim(t, namespace, channelID, a, &heard{})
	}
	third := follow(t, namespace)
	for _, channelID := range channels {
		for i, r := range []*replica{first, second, third} {
			until(t, fmt.Sprintf("replica %d knows the owner of %q", i, channelID), func() bool {
				return r.owner(channelID) == a
			})
		}
	}
	if err := third.Release(t.Context(), namespace, opened(1, channels...), a); err != nil {
		t.Fatal(err)
	}
	for i, r := range []*replica{first, second, third} {
		until(t, fmt.Sprintf("replica %d knows that nobody owns any", i), func() bool {
			return r.count() == 0 && r.counted(t, "nagi_claims") == 0
		})
		if len(r.holders)+len(r.counts) > 1 || r.counts[namespace] != 0 {
			t.Errorf("replica %d keeps %v, %v", i, r.holders, r.counts)
		}
	}
}

// answered holds the answer to the next read back until what was asked about has changed.
type answered struct {
	next   http.RoundTripper
	before func()
}

func (a *answered) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := a.next.RoundTrip(request)
	if before := a.before; before != nil && strings.Contains(request.URL.Path, namePrefix) &&
		request.Method == http.MethodGet {
		a.before = nil
		before()
	}

	return response, err
}

// What a read was answered may be older than what a watch has told meanwhile.
func TestAReadThatIsOvertakenByTheWatch(t *testing.T) {
	namespace := newNamespace(t)
	r, other := follow(t, namespace), follow(t, namespace)
	a, b := Holder{Name: "a"}, Holder{Name: "b"}
	read := func(channelID string, meanwhile func()) {
		t.Helper()
		next := r.way.next
		r.way.send(&answered{next, meanwhile})
		if _, err := r.look(t.Context(), namespace, channelID); err != nil {
			t.Error(err)
		}
		r.way.send(next)
	}

	other.claim(t, namespace, "lobby", a, &heard{})
	until(t, "it is known", func() bool { return r.owner("lobby") == a })
	read("lobby", func() {
		if err := other.Release(t.Context(), namespace, opened(1, "lobby"), a); err != nil {
			t.Error(err)
		}
		until(t, "it is known to be released", func() bool { return r.owner("lobby") == Holder{} })
	})
	if owner := r.owner("lobby"); owner != (Holder{}) {
		t.Errorf("what is released is %v's again", owner)
	}
	read("lobby", func() {
		other.claim(t, namespace, "lobby", b, &heard{})
		until(t, "it is known to be claimed", func() bool { return r.owner("lobby") == b })
	})
	if owner := r.owner("lobby"); owner != b {
		t.Errorf("what is claimed is %v's", owner)
	}
	if owner, claimed, err := r.Owner(t.Context(), namespace, "lobby", &heard{}); err != nil || !claimed || owner != b {
		t.Errorf("located at %v, claimed: %v, %v", owner, claimed, err)
	}
}

func TestClaimsAreBounded(t *testing.T) {
	namespace := newNamespace(t)
	r := follow(t, namespace)
	for i := range maxOfHolder {
		r.Claims.mu.Lock()
		r.put(fmt.Sprint(i), &claim{
			namespace: namespace, channelID: fmt.Sprint(i), name: fmt.Sprint(i), holder: Holder{Name: "a"},
		})
		r.Claims.mu.Unlock()
	}
	if _, _, err := r.Claim(t.Context(), namespace, Opening{"one more", 1}, Holder{Name: "a"}, &heard{},
		anybody); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	if owner := r.claim(t, namespace, "one more", Holder{Name: "b"}, &heard{}); owner.Name != "b" {
		t.Error(owner)
	}
	r.Claims.mu.Lock()
	r.counts[namespace] = maxOfNamespace
	r.Claims.mu.Unlock()
	if _, _, err := r.Claim(t.Context(), namespace, Opening{"another", 1}, Holder{Name: "b"}, &heard{},
		anybody); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
}
