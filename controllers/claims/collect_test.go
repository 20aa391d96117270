package claims

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// collector goes over the claims at times that the test makes up.
type collector struct {
	*sweep
	t   *testing.T
	now time.Time
}

func (r *replica) collector(t *testing.T, hosting map[string]Hosting) *collector {
	return &collector{&sweep{claims: r.Claims, hosting: hosting}, t, time.Now()}
}

// after lets so much time pass, with a pass each five seconds.
func (c *collector) after(d time.Duration) {
	for end := c.now.Add(d); c.now.Before(end); c.now = c.now.Add(5 * time.Second) {
		c.pass(c.t.Context(), c.now)
	}
	c.pass(c.t.Context(), c.now)
}

func (c *collector) remain(namespace string, want ...string) {
	c.t.Helper()
	list, err := k8s.CoordinationV1().Leases(namespace).List(c.t.Context(), metav1.ListOptions{LabelSelector: TenantLabel})
	if err != nil {
		c.t.Fatal(err)
	}
	var got []string
	for _, lease := range list.Items {
		got = append(got, lease.Annotations[ChannelAnnotation])
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		c.t.Errorf("the claims of %v remain, want %v", got, want)
	}
}

// each is heard of every media server by its name.
type each map[string]*heard

func (e each) of(h Holder) *heard {
	if x := e[h.Name]; x != nil {
		return x
	}

	return &heard{silence: time.Hour, nobody: true}
}

// perHolder is what is heard of each media server, and which channels each hosts.
type perHolder struct {
	heard

	by    each
	hosts map[string][]string
}

func (p *perHolder) Silence(of Holder) time.Duration { return p.by.of(of).silence }

func (p *perHolder) Unused(holder Holder, channelID string) bool {
	return p.by.of(holder).silence == 0 && !slices.Contains(p.hosts[holder.Name], channelID)
}

func TestClaimsThatAreLeftOverAreCollected(t *testing.T) {
	namespace := newNamespace(t)
	r := follow(t, namespace, func(c *Config) { c.Pods = true })
	ready := podWith(t, namespace, "ready", corev1.PodRunning, corev1.ConditionTrue)
	unready := podWith(t, namespace, "unready", corev1.PodRunning, corev1.ConditionFalse)
	gone := Holder{"gone", "uid"}
	p := &perHolder{
		by:    each{"ready": {}, "unready": {silence: time.Hour}, "gone": {silence: 1}},
		hosts: map[string][]string{"ready": {"used"}},
	}
	for channelID, holder := range map[string]Holder{"used": ready, "unused": ready, "silent": unready, "gone": gone} {
		r.claim(t, namespace, channelID, holder, &heard{})
	}
	c := r.collector(t, map[string]Hosting{namespace: p})
	c.after(0)
	c.remain(namespace, "silent", "unused", "used")
	c.after(55 * time.Second)
	c.remain(namespace, "silent", "unused", "used")
	c.after(5 * time.Second)
	c.remain(namespace, "silent", "used")
	// Rooms that are older than a day were wiped at any start once (livekit#3317): neither
	// age nor silence is a reason, of one whose pod is there.
	c.after(24 * time.Hour / 20)
	c.remain(namespace, "silent", "used")
	for because, want := range map[string]float64{
		becausePodGone: 1, becauseUnused: 1, becauseSilent: 0, becauseUnserved: 0,
	} {
		if got := r.counted(t, "nagi_claims_collected_total", because); got != want {
			t.Errorf("%v collected because %s, want %v", got, because, want)
		}
	}

	// Another collector that begins knows nothing, and takes its time.
	p.hosts["ready"] = nil
	next := r.collector(t, map[string]Hosting{namespace: p})
	next.after(55 * time.Second)
	next.remain(namespace, "silent", "used")
	// Nor does one that stood still believe what it knew before.
	next.now = next.now.Add(time.Hour)
	next.after(55 * time.Second)
	next.remain(namespace, "silent", "used")
	// In use again meanwhile: it counts anew.
	p.hosts["ready"] = []string{"used"}
	next.after(5 * time.Second)
	p.hosts["ready"] = nil
	next.after(55 * time.Second)
	next.remain(namespace, "silent", "used")
	next.after(10 * time.Second)
	next.remain(namespace, "silent")
}

// Whose pod is gone hosts nothing: it is looked for though its claims have passed on.
func TestPodsOutOfTouchAreLookedFor(t *testing.T) {
	namespace := newNamespace(t)
	r := follow(t, namespace, func(c *Config) { c.Pods = true })
	unready := podWith(t, namespace, "unready", corev1.PodRunning, corev1.ConditionFalse)
	failed := podWith(t, namespace, "failed", corev1.PodFailed, corev1.ConditionFalse)
	former, gone := Holder{"unready", "another-uid"}, Holder{"gone", "uid"}
	// What is known by name alone may be whichever pod has the name.
	named, namedFailed, namedGone := Holder{Name: "unready"}, Holder{Name: "failed"}, Holder{Name: "gone"}
	h := &heard{out: []Holder{unready, failed, former, gone, named, namedFailed, namedGone}}
	r.findGone(t.Context(), namespace, h)
	if !slices.Equal(h.gone, []Holder{failed, former, gone, namedFailed, namedGone}) {
		t.Errorf("%v are gone", h.gone)
	}
	h.gone = nil
	r.pods = refusing(t).CoreV1()
	clear(r.seen)
	r.findGone(t.Context(), namespace, h)
	if len(h.gone) > 0 {
		t.Errorf("where pods cannot be read %v are gone", h.gone)
	}
}

func TestClaimsOfNamespacesThatAreNotServedAreCollected(t *testing.T) {
	namespace := newNamespace(t)
	r := follow(t, namespace, func(c *Config) { c.Namespaces = []string{namespace, "former"} })
	r.claim(t, "former", "lobby", Holder{Name: "a"}, &heard{})
	r.claim(t, namespace, "hall", Holder{Name: "a"}, &heard{})
	next := follow(t, namespace)
	c := next.collector(t, map[string]Hosting{namespace: &heard{}})
	c.after(9 * time.Minute)
	c.remain(namespace, "hall", "lobby")
	c.after(time.Minute)
	c.remain(namespace, "hall")
}

func TestWithoutPodsTheSilentAreCollectedLate(t *testing.T) {
	namespace := newNamespace(t)
	r := follow(t, namespace)
	for _, name := range []string{"dead", "reached", "late"} {
		r.claim(t, namespace, name, Holder{Name: name}, &heard{})
	}
	c := r.collector(t, map[string]Hosting{namespace: &byName{each{
		"dead": {silence: time.Hour}, "reached": {silence: time.Hour, reached: true}, "late": {silence: 9 * time.Minute},
	}}})
	c.after(time.Hour)
	c.remain(namespace, "late", "reached")
}

// byName is all that is heard of each.
type byName struct{ each }

func (b *byName) Silence(of Holder) time.Duration { return b.of(of).silence }
func (b *byName) Ended(Holder) time.Time          { return time.Time{} }
func (b *byName) OutOfTouch() []Holder            { return nil }
func (b *byName) PodGone(Holder)                  {}
func (b *byName) Unused(Holder, string) bool      { return false }
func (b *byName) PeerAddress(Holder) string       { return "" }
func (b *byName) Reached(ctx context.Context, of Holder, address string) (bool, error) {
	return b.of(of).Reached(ctx, of, address)
}

// slow is a way on which the pods of a namespace are read in vain, which takes so long.
type slow struct {
	next  http.RoundTripper
	pods  string
	takes func()
	reads int
}

func (s *slow) RoundTrip(request *http.Request) (*http.Response, error) {
	if strings.Contains(request.URL.Path, s.pods) {
		s.reads++
		s.takes()

		return nil, errors.New("the pods of this namespace are not read")
	}

	return s.next.RoundTrip(request)
}

// A tenant whose pods cannot be read has many silent media servers: others' claims are
// collected all the same, and at their time.
func TestATenantWhosePodsAreNotReadIsInNobodysWay(t *testing.T) {
	namespace := newNamespace(t)
	const trouble = "trouble"
	r := follow(t, namespace, func(c *Config) { c.Pods, c.Namespaces = true, []string{namespace, trouble} })
	a := podWith(t, namespace, "a", corev1.PodRunning, corev1.ConditionTrue)
	r.claim(t, namespace, "unused", a, &heard{})
	r.claim(t, namespace, "used", Holder{"b", "uid"}, &heard{})
	for i := range 20 {
		r.claim(t, trouble, fmt.Sprint(i), Holder{fmt.Sprint("silent-", i), "uid"}, &heard{})
	}
	way := &slow{next: r.way.next, pods: "/namespaces/" + trouble + "/pods/", takes: func() {}}
	r.way.send(way)
	c := r.collector(t, map[string]Hosting{
		namespace: &perHolder{by: each{"a": {}, "b": {}}, hosts: map[string][]string{"b": {"used"}}},
		trouble:   &heard{silence: time.Hour},
	})
	c.after(0)
	if way.reads > 1 {
		t.Errorf("pods are read %d times in a pass, in vain", way.reads)
	}

	// A pass that takes longer than there is between two is no standing still.
	r.config.CollectEvery, r.config.UnusedFor = time.Millisecond, 50*time.Millisecond
	way.takes = func() {
		for range 10 {
			leaseOf(t, namespace, "used")
		}
	}
	passes := 0
	for ; r.count() > 21 && passes < 100; passes++ {
		began := time.Now()
		c.pass(t.Context(), c.now)
		c.now = c.now.Add(time.Since(began) + time.Millisecond)
	}
	if r.count() > 21 {
		t.Errorf("what is unused is not collected in %d passes", passes)
	}
}

// The owner that comes back to its channel just as the claim is collected keeps it; so does
// the one that the claim has passed on to.
func TestARenewalWinsAgainstCollection(t *testing.T) {
	namespace := newNamespace(t)
	r, other := follow(t, namespace), follow(t, namespace)
	a := Holder{Name: "a"}
	for what, meanwhile := range map[string]func(){
		"renewed": func() { renewByHand(t, namespace, "renewed") },
		"passed on": func() {
			until(t, "the other knows of it", func() bool { return other.owner("passed on") == a })
			other.claim(t, namespace, "passed on", Holder{Name: "b"}, &silentOne{name: "a"})
		},
		"made anew": func() {
			if err := other.Release(t.Context(), namespace, opened(1, "made anew"), a); err != nil {
				t.Error(err)
			}
			other.claim(t, namespace, "made anew", a, &heard{})
		},
	} {
		r.claim(t, namespace, what, a, &heard{})
		held, _ := r.get(NameOf(namespace, what))
		r.way.goFirst(http.MethodDelete, meanwhile)
		if deleted, err := r.remove(t.Context(), held); deleted || err != nil {
			t.Errorf("%s: deleted: %v, %v", what, deleted, err)
		}
		leaseOf(t, namespace, what) // It is there.
	}
}

// A media server releases its own claims alone: whatever it believes of others', which may
// have been its own (livekit#4797).
func TestReleaseLeavesOthersClaimsAlone(t *testing.T) {
	namespace := newNamespace(t)
	r, other := follow(t, namespace), follow(t, namespace)
	a, b := Holder{"a", "first"}, Holder{"b", "second"}
	r.claim(t, namespace, "lobby", a, &heard{})
	until(t, "the other knows of it", func() bool { return other.owner("lobby") == a })
	other.claim(t, namespace, "lobby", b, &silentOne{name: "a"})
	for _, former := range []Holder{a, {"b", "another-pod"}, {"b", ""}} {
		if err := r.Release(t.Context(), namespace, opened(1, "lobby", "nothing"), former); err != nil {
			t.Error(err)
		}
	}
	if lease := leaseOf(t, namespace, "lobby"); holderOf(*lease.Spec.HolderIdentity) != b {
		t.Errorf("the Lease is %+v", lease.Spec)
	}
	// Just as it is released it passes on.
	r.way.goFirst(http.MethodDelete, func() { other.claim(t, namespace, "lobby", a, &silentOne{name: "b"}) })
	if err := r.Release(t.Context(), namespace, opened(1, "lobby"), b); err != nil {
		t.Error(err)
	}
	if lease := leaseOf(t, namespace, "lobby"); holderOf(*lease.Spec.HolderIdentity) != a {
		t.Errorf("the Lease is %+v", lease.Spec)
	}
	if err := r.Release(t.Context(), namespace, opened(1, "lobby"), a); err != nil {
		t.Error(err)
	}
	if _, err := k8s.CoordinationV1().Leases(namespace).Get(t.Context(), NameOf(namespace, "lobby"),
		metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("released: %v", err)
	}
}
