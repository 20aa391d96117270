package serve

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/identity"
)

// leeway is how long the API server takes a token that has ended.
const leeway = time.Minute

// often is how soon reviews are repeated here.
const often = 50 * time.Millisecond

func clientKey(o client.Object) client.ObjectKey { return client.ObjectKeyFromObject(o) }

// apiAudience is whom tokens are for that name no audience: the API server.
func apiAudience(t testing.TB) string {
	t.Helper()

	return plane.Config.Host + "/"
}

func renewed(token string) *forwardingv1.SubscribeRequest {
	return &forwardingv1.SubscribeRequest{
		Message: &forwardingv1.SubscribeRequest_Token{Token: &forwardingv1.Token{Token: token}},
	}
}

// revoke takes away what account gave.
func revoke(t testing.TB, namespace, name string) {
	t.Helper()
	if err := k8s.Delete(context.Background(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
	}); err != nil {
		t.Fatal(err)
	}
}

// lives waits for reviews to be made and then for a word on the stream.
func (r *reviewing) lives(t *testing.T, c *call, reviews int32) {
	t.Helper()
	asked := r.way.asked.Load()
	until(t, "reviews are repeated", func() bool { return r.way.asked.Load() >= asked+reviews })
	for range 3 {
		c.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetReplicaVersion() != nil })
	}
}

func TestAReviewIsRepeatedAndADenialEndsTheStream(t *testing.T) {
	namespace := newNamespace(t)
	r := review(t, often, namespace)
	c := r.subscribe(t, mediaServerToken(t, namespace, "sfu-0"), &forwardingv1.Hello{})
	r.lives(t, c, 10)
	revoke(t, namespace, "sfu-0")
	expect(t, c.end(), codes.PermissionDenied, "may not subscribe")
}

func TestAnAPIServerThatIsAwayEndsNoStream(t *testing.T) {
	namespace := newNamespace(t)
	r := review(t, often, namespace)
	token := mediaServerToken(t, namespace, "sfu-0")
	fresh := mediaServerToken(t, namespace, "sfu-1")
	c := r.subscribe(t, token, &forwardingv1.Hello{})
	r.lives(t, c, 4)
	r.way.away.Store(true)
	r.lives(t, c, 10)

	// Whoever was known may come back, and nobody else comes in.
	expect(t, r.subscribe(t, fresh, &forwardingv1.Hello{}).end(), codes.Unavailable, "ask again")
	again := r.subscribe(t, token, &forwardingv1.Hello{})
	expect(t, c.end(), codes.Aborted, "a newer stream")
	r.lives(t, again, 10)

	// What was decided meanwhile counts once it can be asked for.
	revoke(t, namespace, "sfu-0")
	r.lives(t, again, 10)
	r.way.away.Store(false)
	expect(t, again.end(), codes.PermissionDenied, "may not subscribe")
	r.way.away.Store(true)
	expect(t, r.subscribe(t, token, &forwardingv1.Hello{}).end(), codes.Unavailable, "ask again")

	for _, outcome := range []string{"unanswerable", "denied"} {
		if r.counted(t, "nagi_review_failures_total", outcome) == 0 || !r.log.contain("outcome="+outcome) {
			t.Errorf("neither counted nor logged: %s", outcome)
		}
	}
	if r.counted(t, "nagi_review_remembered_total", "") == 0 {
		t.Error("nobody is counted who came in by an earlier review")
	}
}

// A token that ends while the API server is away lets nobody come back with it.
func TestWhatIsRememberedEndsWithTheToken(t *testing.T) {
	namespace := newNamespace(t)
	r := review(t, often, namespace)
	token := ending(t, mediaServerToken(t, namespace, "sfu-0"), time.Now().Add(3*time.Second), nil)
	c := r.subscribe(t, token, &forwardingv1.Hello{})
	r.lives(t, c, 2)
	r.way.away.Store(true)
	until(t, "the token has ended", func() bool {
		second := r.subscribe(t, token, &forwardingv1.Hello{})
		_, err := second.Recv()

		return err != nil
	})
}

// A pod of the same name, as a StatefulSet makes them one after another, is another one.
func TestARenewedTokenIsOfTheSamePod(t *testing.T) {
	namespace := newNamespace(t)
	r := review(t, time.Minute, namespace)
	account(t, namespace, "sfu", identity.Subscribe)
	p := pod(t, namespace, "sfu", "sfu-0")
	c := r.subscribe(t, tokenFor(t, namespace, "sfu", p, forwardingv1.Audience), &forwardingv1.Hello{})
	c.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetWelcome() != nil })
	if err := k8s.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	next := pod(t, namespace, "sfu", "sfu-0")
	c.send(t, renewed(tokenFor(t, namespace, "sfu", next, forwardingv1.Audience)))
	expect(t, c.end(), codes.PermissionDenied, "of another pod")
}

func TestARenewedTokenGoesOverTheLivingStream(t *testing.T) {
	namespace := newNamespace(t)
	r := review(t, often, namespace)
	account(t, namespace, "sfu", identity.Subscribe)
	p := pod(t, namespace, "sfu", "sfu-0")
	token := func() string { return tokenFor(t, namespace, "sfu", p, forwardingv1.Audience) }
	soon := ending(t, token(), time.Now().Add(2*time.Second-leeway), nil)
	c := r.subscribe(t, soon, &forwardingv1.Hello{})
	r.lives(t, c, 2)
	c.send(t, renewed(token()))
	r.lives(t, c, 2)

	// Without it, the stream would have ended with the first one.
	other := pod(t, namespace, "sfu", "sfu-1")
	forgetful := r.subscribe(t, ending(t, tokenFor(t, namespace, "sfu", other, forwardingv1.Audience),
		time.Now().Add(2*time.Second-leeway), nil), &forwardingv1.Hello{})
	expect(t, forgetful.end(), codes.Unauthenticated, "expired")
	r.lives(t, c, 2)

	c.send(t, renewed(tokenFor(t, namespace, "sfu", other, forwardingv1.Audience)))
	expect(t, c.end(), codes.PermissionDenied, "of another pod")
	c = r.subscribe(t, token(), &forwardingv1.Hello{})
	r.lives(t, c, 2)
	c.send(t, renewed("no token"))
	expect(t, c.end(), codes.Unauthenticated, "show a ServiceAccount token")
}
