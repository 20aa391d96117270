package claims

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Each rule by which a claim passes on, and what comes near it and does not.
func TestAClaimPassesOn(t *testing.T) {
	namespace := newNamespace(t)
	patient := func(pods bool) func(c *Config) {
		return func(c *Config) { c.TakeoverAfter, c.Pods = 30*time.Second, pods }
	}
	pods := follow(t, namespace, patient(true))
	unreviewed := follow(t, namespace, patient(false))
	blind := follow(t, namespace, patient(true))
	blind.pods = refusing(t).CoreV1()

	ready := podWith(t, namespace, "ready", corev1.PodRunning, corev1.ConditionTrue)
	unready := podWith(t, namespace, "unready", corev1.PodRunning, corev1.ConditionFalse)
	pending := podWith(t, namespace, "pending", corev1.PodPending, "")
	failed := podWith(t, namespace, "failed", corev1.PodFailed, corev1.ConditionFalse)
	succeeded := podWith(t, namespace, "succeeded", corev1.PodSucceeded, "")
	another := Holder{ready.Name, "another-uid"}
	gone := Holder{"gone", "uid"}
	bare := Holder{Name: "bare"}
	const soon, late = 29 * time.Second, 30 * time.Second

	for name, x := range map[string]struct {
		in     *replica
		holder Holder
		heard  *heard
		want   string // because; empty: it stays
		asked  int32  // whether peers had to be asked
		fresh  bool   // it is claimed just now
	}{
		"it streams":                        {pods, unready, &heard{}, "", 0, false},
		"it streams, and its pod is gone":   {pods, gone, &heard{}, "", 0, false},
		"its pod is gone":                   {pods, gone, &heard{silence: 1, reached: true}, becausePodGone, 0, false},
		"another pod has its name":          {pods, another, &heard{silence: 1, reached: true}, becausePodGone, 0, false},
		"its pod has failed":                {pods, failed, &heard{silence: 1, reached: true}, becausePodGone, 0, false},
		"its pod has come to an end":        {pods, succeeded, &heard{silence: 1, reached: true}, becausePodGone, 0, false},
		"it is silent, and all else":        {pods, unready, &heard{silence: late}, becauseSilent, 2, false},
		"it has never been ready":           {pods, pending, &heard{silence: late}, becauseSilent, 2, false},
		"it is not silent for long":         {pods, unready, &heard{silence: soon}, "", 0, false},
		"its pod is ready":                  {pods, ready, &heard{silence: time.Hour}, "", 0, false},
		"another reaches it":                {pods, unready, &heard{silence: time.Hour, reached: true}, "", 2, false},
		"nobody says whether they reach it": {pods, unready, &heard{silence: time.Hour, nobody: true}, "", 2, false},
		"its pod cannot be read":            {blind, unready, &heard{silence: time.Hour}, "", 0, false},
		"it said farewell": {
			pods, ready, &heard{silence: 1, ended: time.Now().Add(time.Hour)}, becauseReleased, 0, false,
		},
		"it said farewell before it claimed": {
			pods, ready, &heard{silence: 1, ended: time.Now().Add(-time.Hour)}, "", 0, false,
		},
		"it claimed it just now by another replica": {pods, unready, &heard{silence: time.Hour}, "", 0, true},
		"it said farewell, and then claimed it":     {pods, ready, &heard{silence: 1, ended: time.Now()}, "", 0, true},
		"no pods: it streams":                       {unreviewed, bare, &heard{}, "", 0, false},
		"no pods: it is silent, and not reached":    {unreviewed, bare, &heard{silence: late}, becauseSilent, 2, false},
		"no pods: not for long":                     {unreviewed, bare, &heard{silence: soon}, "", 0, false},
		"no pods: another reaches it": {
			unreviewed, bare, &heard{silence: time.Hour, reached: true}, "", 2, false,
		},
		"no pods: nobody to ask": {unreviewed, bare, &heard{silence: time.Hour, nobody: true}, "", 2, false},
		"no pods: it said farewell": {
			unreviewed, bare, &heard{silence: 1, ended: time.Now().Add(time.Hour)}, becauseReleased, 0, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			channelID, claimant := t.Name(), Holder{"claimant", "claimant-uid"}
			x.in.claim(t, namespace, channelID, x.holder, &heard{})
			if !x.fresh {
				x.in.age(namespace, channelID, time.Hour/2)
			}
			before := leaseOf(t, namespace, channelID)
			counted := x.in.counted(t, "nagi_claims_taken_over_total", x.want)

			owner, claimed, err := x.in.Owner(t.Context(), namespace, channelID, x.heard)
			if err != nil || claimed != (x.want == "") || claimed && owner != x.holder {
				t.Errorf("located at %v, claimed: %v, %v", owner, claimed, err)
			}
			want := x.holder
			if x.want != "" {
				want = claimant
			}
			if owner := x.in.claim(t, namespace, channelID, claimant, x.heard); owner != want {
				t.Errorf("%v owns it, want %v", owner, want)
			}
			after := leaseOf(t, namespace, channelID)
			if holderOf(*after.Spec.HolderIdentity) != want {
				t.Errorf("the Lease has %q", *after.Spec.HolderIdentity)
			}
			if x.want == "" && after.ResourceVersion != before.ResourceVersion {
				t.Error("the Lease was written")
			}
			if x.want != "" &&
				(*after.Spec.LeaseTransitions != 1 || x.in.counted(t, "nagi_claims_taken_over_total", x.want) != counted+1) {
				t.Errorf("%d transitions, counted %v", *after.Spec.LeaseTransitions,
					x.in.counted(t, "nagi_claims_taken_over_total", x.want))
			}
			if asked := x.heard.asked.Load(); asked != x.asked {
				t.Errorf("peers were asked %d times, want %d", asked, x.asked)
			}
		})
	}
}

// Where the owner is reached stands with the claim: who has never heard it, or has forgotten
// it, has it tried there, and not kept because nobody knows where.
func TestAClaimSaysWhereItsHolderIsReached(t *testing.T) {
	namespace := newNamespace(t)
	first := follow(t, namespace)
	owner := Holder{Name: "a"}
	for _, address := range []string{"10.0.0.7:5000", "10.0.0.8:5000"} { // It is made, and renewed.
		first.claim(t, namespace, "lobby", owner, &heard{address: address})
		later, w := follow(t, namespace), &heard{silence: time.Hour, reached: true}
		if got := later.claim(t, namespace, "lobby", Holder{Name: "heir"}, w); got != owner || w.askedAt != address {
			t.Errorf("%v owns it; it was tried at %q, want %q", got, w.askedAt, address)
		}
	}
	// Whoever takes it over is somewhere else, or nowhere that is known.
	first.claim(t, namespace, "lobby", Holder{Name: "heir"}, &heard{silence: time.Hour})
	if lease := leaseOf(t, namespace, "lobby"); lease.Annotations[AddressAnnotation] != "" {
		t.Errorf("the Lease says %v", lease.Annotations)
	}
}

// Several who take over at once are told the same new owner, and it passes on once.
func TestAClaimPassesOnOnce(t *testing.T) {
	namespace := newNamespace(t)
	replicas := []*replica{follow(t, namespace), follow(t, namespace)}
	for round := range 50 {
		channelID := fmt.Sprint("channel-", round)
		replicas[0].claim(t, namespace, channelID, Holder{Name: "dead"}, &heard{})
		until(t, "both know of it", func() bool { return replicas[1].owner(channelID).Name == "dead" })
		owners := make([]Holder, 4)
		var claiming sync.WaitGroup
		for i := range owners {
			by := Holder{Name: fmt.Sprint("heir-", i)}
			claiming.Go(func() {
				// The heirs stream.
				w := &silentOne{name: "dead"}
				owner, _, err := replicas[i%2].Claim(t.Context(), namespace, Opening{channelID, 1}, by, w, anybody)
				if err != nil {
					t.Error(err)
				}
				owners[i] = owner
			})
		}
		claiming.Wait()
		for _, owner := range owners {
			if owner != owners[0] || owner.Name == "dead" {
				t.Fatalf("round %d: the owners are %v", round, owners)
			}
		}
		if lease := leaseOf(t, namespace, channelID); *lease.Spec.LeaseTransitions != 1 {
			t.Fatalf("round %d: %d transitions", round, *lease.Spec.LeaseTransitions)
		}
	}
}

// silentOne is heard where one media server is silent and all others stream.
type silentOne struct {
	heard

	name string
}

func (s *silentOne) Silence(of Holder) time.Duration {
	if of.Name == s.name {
		return time.Hour
	}

	return 0
}

// Who is about to lose a claim, and renews it in between, keeps it: what is written is a
// change of what was judged.
func TestARenewalInBetweenKeepsTheClaim(t *testing.T) {
	namespace := newNamespace(t)
	r := follow(t, namespace)
	owner := Holder{Name: "slow"}
	r.claim(t, namespace, "lobby", owner, &heard{})
	w := &heard{silence: time.Hour}
	r.way.goFirst(http.MethodPut, func() {
		renewByHand(t, namespace, "lobby")
		w.silence = 0
	})
	if got := r.claim(t, namespace, "lobby", Holder{Name: "heir"}, w); got != owner {
		t.Errorf("%v owns it", got)
	}
	if lease := leaseOf(t, namespace, "lobby"); holderOf(*lease.Spec.HolderIdentity) != owner ||
		*lease.Spec.LeaseTransitions != 0 {
		t.Errorf("the Lease is %+v", lease.Spec)
	}
}

// A container is started anew in its pod, and claims by another replica what was its own,
// within seconds: who goes by its farewell, or has released the claim for the one before,
// just then, comes too late.
func TestARestartedMediaServerKeepsWhatItClaimsAnew(t *testing.T) {
	namespace := newNamespace(t)
	here, there := follow(t, namespace, func(c *Config) { c.TakeoverAfter = time.Hour }), follow(t, namespace)
	owner, heir := Holder{Name: "a"}, Holder{Name: "heir"}
	for what, late := range map[string]struct {
		method string
		call   func() error
	}{
		"taken over": {http.MethodPut, func() error {
			_, _, err := here.Claim(t.Context(), namespace, Opening{"taken over", 1}, heir,
				&heard{silence: 1, ended: time.Now()}, anybody)

			return err
		}},
		"released": {http.MethodDelete, func() error {
			held, _ := here.get(NameOf(namespace, "released"))
			_, err := here.remove(t.Context(), held)

			return err
		}},
	} {
		here.claim(t, namespace, what, owner, &heard{})
		until(t, "the other knows of it", func() bool { return there.owner(what) == owner })
		here.way.goFirst(late.method, func() { there.claim(t, namespace, what, owner, &heard{}) })
		if err := late.call(); err != nil {
			t.Error(err)
		}
		if lease := leaseOf(t, namespace, what); holderOf(*lease.Spec.HolderIdentity) != owner {
			t.Errorf("%s: %q owns it", what, *lease.Spec.HolderIdentity)
		}
	}
}

func renewByHand(t testing.TB, namespace, channelID string) {
	t.Helper()
	lease := leaseOf(t, namespace, channelID)
	lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
	if _, err := k8s.CoordinationV1().Leases(namespace).Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A container that restarts in the same pod keeps its claims, and a pod that comes in its
// place takes them over at once.
func TestAPodThatComesInAnothersPlaceHasItsClaims(t *testing.T) {
	namespace := newNamespace(t)
	r := follow(t, namespace, func(c *Config) { c.Pods = true })
	first := podWith(t, namespace, "sfu-0", corev1.PodRunning, corev1.ConditionTrue)
	r.claim(t, namespace, "lobby", first, &heard{})
	if owner := r.claim(t, namespace, "lobby", first, &heard{silence: time.Hour}); owner != first {
		t.Errorf("after its restart %v owns it", owner)
	}
	none := int64(0)
	if err := k8s.CoreV1().Pods(namespace).Delete(t.Context(), first.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &none,
	}); err != nil {
		t.Fatal(err)
	}
	second := podWith(t, namespace, "sfu-0", corev1.PodRunning, corev1.ConditionTrue)
	if owner := r.claim(t, namespace, "lobby", second, &silentOne{name: first.Name}); owner != second {
		t.Errorf("%v owns it", owner)
	}
}

// Who claims what is its own has it written, whatever others judged it by before.
func TestOnesOwnClaimIsRenewed(t *testing.T) {
	namespace := newNamespace(t)
	r, other := follow(t, namespace), follow(t, namespace)
	owner := Holder{Name: "a"}
	r.claim(t, namespace, "lobby", owner, &heard{})
	made := leaseOf(t, namespace, "lobby")
	until(t, "the other knows of it", func() bool { return other.owner("lobby") == owner })
	for _, by := range []*replica{r, other, r} {
		before := leaseOf(t, namespace, "lobby")
		by.claim(t, namespace, "lobby", owner, &heard{})
		renewed := leaseOf(t, namespace, "lobby")
		if !renewed.Spec.RenewTime.After(before.Spec.RenewTime.Time) || *renewed.Spec.LeaseTransitions != 0 ||
			!renewed.Spec.AcquireTime.Equal(made.Spec.AcquireTime) || renewed.UID != made.UID {
			t.Errorf("renewed: %+v", renewed.Spec)
		}
	}
	if r.counted(t, "nagi_claims_made_total")+other.counted(t, "nagi_claims_made_total")+
		other.counted(t, "nagi_claims_taken_over_total") != 1 {
		t.Error("a renewal is counted as another claim")
	}
	// Whoever may own no more keeps what it owns.
	full := errors.New("full")
	if _, _, err := r.Claim(t.Context(), namespace, Opening{"lobby", 1}, owner, &heard{}, func() error {
		return full
	}); err != nil {
		t.Error(err)
	}
	if _, _, err := r.Claim(t.Context(), namespace, Opening{"another", 1}, owner, &heard{}, func() error {
		return full
	}); !errors.Is(err, full) {
		t.Error(err)
	}
	if r.counted(t, "nagi_claims_refused_total") != 1 {
		t.Error("a claim that was refused is not counted")
	}
}
