package claims

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// asks has the holder claim the channel for the opening.
func (r *replica) asks(t testing.TB, namespace string, opening Opening, holder Holder, w Witness) (latest uint64) {
	t.Helper()
	owner, latest, err := r.Claim(t.Context(), namespace, opening, holder, w, anybody)
	if err != nil || owner != holder {
		t.Fatalf("%v owns it: %v", owner, err)
	}

	return latest
}

// A release may be held up on its way, at a manager that stands still, while another one
// takes it, and the channel is opened again: what has been claimed since stays.
func TestALateReleaseEndsNothingThatHasBegunSince(t *testing.T) {
	namespace := newNamespace(t)
	here, late := follow(t, namespace), follow(t, namespace)
	a, b := Holder{"a", "uid"}, Holder{"b", "uid"}
	release := func(r *replica, holder Holder, number uint64, channelID string) {
		t.Helper()
		if err := r.Release(t.Context(), namespace, opened(number, channelID), holder); err != nil {
			t.Error(err)
		}
	}
	for what, since := range map[string]func(channelID string){
		"released, and opened again": func(id string) {
			release(here, a, 1, id)
			here.asks(t, namespace, Opening{id, 2}, a, &heard{})
		},
		"opened again before it was released": func(id string) {
			here.asks(t, namespace, Opening{id, 2}, a, &heard{})
		},
		"opened again, and the claim held up too": func(id string) {
			here.asks(t, namespace, Opening{id, 2}, a, &heard{})
			if latest := late.asks(t, namespace, Opening{id, 1}, a, &heard{}); latest != 2 {
				t.Errorf("it is told that it has claimed the channel for opening %d", latest)
			}
		},
		"passed on, and opened again": func(id string) {
			until(t, "it is known", func() bool { return here.owner(id) == a })
			here.asks(t, namespace, Opening{id, 9}, b, &silentOne{name: "a"})
			here.asks(t, namespace, Opening{id, 2}, a, &silentOne{name: "b"})
		},
	} {
		t.Run(what, func(t *testing.T) {
			here.asks(t, namespace, Opening{what, 1}, a, &heard{})
			since(what)
			before := leaseOf(t, namespace, what)
			release(late, a, 1, what)
			after := leaseOf(t, namespace, what)
			if after.UID != before.UID || holderOf(*after.Spec.HolderIdentity) != a {
				t.Errorf("the Lease is %+v", after)
			}
			// Its own release ends it: so does one of a later opening, where a restored etcd
			// has the claim of an earlier one.
			release(late, a, 3, what)
			if _, err := k8s.CoordinationV1().Leases(namespace).Get(t.Context(), NameOf(namespace, what),
				metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("released: %v", err)
			}
		})
	}
}

// A Lease whose opening is no number is none of ours; one without is of before all openings.
func TestTheOpeningOfALease(t *testing.T) {
	t.Parallel()
	lease := (&claim{
		namespace: "tenant", channelID: "lobby", name: NameOf("tenant", "lobby"), opening: 1<<64 - 1, resourceVersion: "7",
	}).lease("managers")
	if c, err := decode(lease); err != nil || c.opening != 1<<64-1 {
		t.Errorf("%+v, %v", c, err)
	}
	lease.Annotations[OpeningAnnotation] = "-1"
	if _, err := decode(lease); err == nil {
		t.Error("it is decoded")
	}
	delete(lease.Annotations, OpeningAnnotation)
	if c, err := decode(lease); err != nil || c.opening != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}
