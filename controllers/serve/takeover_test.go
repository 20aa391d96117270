package serve

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/claims"
	"github.com/nagi-rtc/nagi/controllers/identity"
)

// reaching answers whether it reaches others: as told, by name; of whom it is not told the
// address it cannot say.
func (p *peer) reaching(names ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = func(q *forwardingv1.Question) []*forwardingv1.Answer {
		a := &forwardingv1.Answer{}
		if q.GetReach().GetPeerAddress() == "" {
			a.Error = "nobody has said where it is"
		}
		if slices.Contains(names, q.GetReach().GetName()) {
			a.Count = 1
		}

		return []*forwardingv1.Answer{a}
	}
}

// takenOver waits until the channel is located where it is not claimed, and claims it.
func (s *serving) takenOver(t *testing.T, namespace, by, channelID string) {
	t.Helper()
	until(t, "the claim passes on", func() bool {
		_, claimed, err := s.locate(t, namespace, by, channelID)

		return err == nil && !claimed
	})
	if owner, err := s.claim(t, namespace, by, channelID); err != nil || owner != by {
		t.Errorf("%q owns it: %v", owner, err)
	}
}

// stays asks several times, and expects the claim to stay.
func (s *serving) stays(t *testing.T, namespace, by, channelID, owner string) {
	t.Helper()
	for range 3 {
		if at, claimed, err := s.locate(t, namespace, by, channelID, owner); err != nil || !claimed || at != owner {
			t.Errorf("located at %q, claimed: %v, %v; want it at %q", at, claimed, err, owner)
		}
		if got, err := s.claim(t, namespace, by, channelID); err != nil || got != owner {
			t.Errorf("%q owns it: %v; want %q", got, err, owner)
		}
	}
}

// A media server that streams to another replica alone is silent here; that others reach
// it protects its claims.
func TestWhoStreamsToAnotherReplicaKeepsItsClaims(t *testing.T) {
	namespace := newNamespace(t)
	soon := func(c *claims.Config) { c.TakeoverAfter = 100 * time.Millisecond }
	here, there := placing(t, namespace, soon), placing(t, namespace, soon)
	a := there.joins(t, namespace, "a", nil)
	b := here.joins(t, namespace, "b", nil)
	c := here.joins(t, namespace, "c", nil)
	there.joins(t, namespace, "b", nil)
	b.reaching("a")
	c.reaching()
	if owner, err := there.claim(t, namespace, "a", "lobby"); err != nil || owner != "a" {
		t.Fatal(owner, err)
	}
	tenant := here.knowledge.Tenant(namespace)
	until(t, "it is silent for long enough here, and owns the channel", func() bool {
		_, claimed, err := here.locate(t, namespace, "b", "lobby")

		return err == nil && claimed && tenant.Silence(claims.Holder{Name: "a"}, time.Now()) > 200*time.Millisecond
	})
	here.stays(t, namespace, "b", "lobby", "a")
	// Nobody who is asked answers: that is no reason either.
	silent := func(*forwardingv1.Question) []*forwardingv1.Answer { return nil }
	for _, p := range []*peer{b, c} {
		p.mu.Lock()
		p.answers = silent
		p.mu.Unlock()
	}
	here.stays(t, namespace, "b", "lobby", "a")
	b.reaching()
	c.reaching()
	here.takenOver(t, namespace, "b", "lobby")
	// The one that had it learns of it, and is told so.
	until(t, "the other replica knows the new owner", func() bool {
		owner, claimed, err := there.locate(t, namespace, "a", "lobby")

		return err == nil && claimed && owner == "b"
	})
	a.report(wholeReport("lobby", "R"))
	until(t, "a is told that the channel is not its own", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()

		return slices.Contains(a.unclaimed, "lobby")
	})
}

// Nobody streams but the one that asks, which says whom it does not reach.
func TestTheDeadLoseTheirClaims(t *testing.T) {
	namespace := newNamespace(t)
	s := placing(t, namespace, func(c *claims.Config) { c.TakeoverAfter = 100 * time.Millisecond })
	a := s.joins(t, namespace, "a", nil)
	b := s.joins(t, namespace, "b", nil)
	b.reaching()
	for _, channelID := range []string{"lobby", "hall"} {
		if owner, err := s.claim(t, namespace, "a", channelID); err != nil || owner != "a" {
			t.Fatal(owner, err)
		}
	}
	s.stays(t, namespace, "b", "lobby", "a")
	a.stop()
	s.takenOver(t, namespace, "b", "lobby")
	// It comes back, and has what nobody took.
	s.joins(t, namespace, "a", nil)
	for channelID, want := range map[string]string{"lobby": "b", "hall": "a"} {
		if owner, err := s.claim(t, namespace, "a", channelID); err != nil || owner != want {
			t.Errorf("%q owns %q: %v", owner, channelID, err)
		}
	}
}

// A manager that has never heard the owner, or has given it up, knows where it was: the dead
// lose their claims there too.
func TestTheForgottenLoseTheirClaims(t *testing.T) {
	namespace := newNamespace(t)
	soon := func(c *claims.Config) { c.TakeoverAfter = 100 * time.Millisecond }
	s := placing(t, namespace, soon)
	a := s.joins(t, namespace, "a", nil)
	if owner, err := s.claim(t, namespace, "a", "lobby"); err != nil || owner != "a" {
		t.Fatal(owner, err)
	}
	a.stop()
	restarted := placing(t, namespace, soon)
	b := restarted.joins(t, namespace, "b", nil)
	b.reaching("a")
	until(t, "it is silent for long enough", func() bool {
		return restarted.knowledge.Tenant(namespace).Silence(claims.Holder{Name: "a"}, time.Now()) > 200*time.Millisecond
	})
	restarted.stays(t, namespace, "b", "lobby", "a")
	b.reaching()
	restarted.takenOver(t, namespace, "b", "lobby")
}

// subscribed has a media server stream with its token.
func (r *reviewing) subscribed(t *testing.T, token string) *call {
	t.Helper()
	c := r.subscribe(t, token, &forwardingv1.Hello{PeerAddress: "10.0.0.1:7440"})
	c.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetReplicaVersion() != nil })

	return c
}

// A media server is who its token says, in the namespace that its token says: it can claim,
// and release, for nobody else.
func TestATokenSaysWhoClaims(t *testing.T) {
	tenant, another := newNamespace(t), newNamespace(t)
	r := review(t, time.Minute, tenant, another)
	token, foreign := mediaServerToken(t, tenant, "sfu-0"), mediaServerToken(t, another, "sfu-0")
	r.subscribed(t, token)
	r.subscribed(t, foreign)
	ctx, foreignContext := with(t, token), with(t, foreign)
	answer, err := r.placement.Claim(ctx, &forwardingv1.ClaimRequest{ChannelId: "lobby", Opening: 1})
	var sfu corev1.Pod
	if err := k8s.Get(t.Context(),
		clientKey(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: "sfu-0"}}), &sfu); err != nil {
		t.Fatal(err)
	}
	if err != nil || answer.GetOwner().GetName() != "sfu-0" || answer.GetOwner().GetPodUid() != string(sfu.UID) ||
		answer.GetOwner().GetPeerAddress() != "10.0.0.1:7440" {
		t.Fatalf("the owner is %v: %v", answer, err)
	}
	if made := leases(t, tenant); *made["lobby"].Spec.HolderIdentity != "sfu-0/"+string(sfu.UID) ||
		made["lobby"].Annotations[claims.NamespaceAnnotation] != tenant {
		t.Errorf("the Lease is %v", made)
	}

	for _, request := range []*forwardingv1.ClaimRequest{
		{Namespace: tenant, ChannelId: "lobby", Opening: 1}, {MediaServer: "sfu-1", ChannelId: "lobby", Opening: 1},
	} {
		_, err := r.placement.Claim(foreignContext, request)
		expect(t, err, codes.PermissionDenied, "and its token that")
		_, err = r.placement.Locate(foreignContext, &forwardingv1.LocateRequest{
			Namespace: request.GetNamespace(), MediaServer: request.GetMediaServer(), ChannelId: "lobby",
		})
		expect(t, err, codes.PermissionDenied, "and its token that")
		_, err = r.placement.Release(foreignContext, &forwardingv1.ReleaseRequest{
			Namespace: request.GetNamespace(), MediaServer: request.GetMediaServer(), Openings: opened("lobby"),
		})
		expect(t, err, codes.PermissionDenied, "and its token that")
	}
	// The other tenant's channel of the same name is another one.
	answer, err = r.placement.Claim(foreignContext, &forwardingv1.ClaimRequest{ChannelId: "lobby", Opening: 1})
	if err != nil || answer.GetOwner().GetPodUid() == string(sfu.UID) {
		t.Errorf("the owner is %v: %v", answer, err)
	}
	if _, err := r.placement.Release(foreignContext, &forwardingv1.ReleaseRequest{Openings: opened("lobby")}); err != nil {
		t.Error(err)
	}
	if located, err := r.placement.Locate(ctx, &forwardingv1.LocateRequest{ChannelId: "lobby"}); err != nil ||
		!located.GetClaimed() {
		t.Errorf("another tenant has released it: %v, %v", located, err)
	}

	// Who may list pauses, as a shim, is no media server; nor is who shows no token.
	account(t, tenant, "viewer", identity.List)
	viewer := with(t, tokenFor(t, tenant, "viewer", pod(t, tenant, "viewer", "viewer"), forwardingv1.Audience))
	_, err = r.placement.Locate(viewer, &forwardingv1.LocateRequest{ChannelId: "lobby"})
	expect(t, err, codes.PermissionDenied, "may not subscribe")
	_, err = r.placement.Claim(within(t, patience), &forwardingv1.ClaimRequest{
		Namespace: tenant, MediaServer: "sfu-0", ChannelId: "new", Opening: 1,
	})
	expect(t, err, codes.Unauthenticated, "show a ServiceAccount token")
	if made := leases(t, tenant); len(made) != 1 {
		t.Errorf("there are %v", made)
	}
}

// A pod that is deleted loses its claims at once, whoever reaches what is left of it.
func TestADeletedPodLosesItsClaims(t *testing.T) {
	tenant := newNamespace(t)
	r := review(t, time.Minute, tenant)
	account(t, tenant, "sfu", identity.Subscribe)
	first, second := pod(t, tenant, "sfu", "sfu-0"), pod(t, tenant, "sfu", "sfu-1")
	token := func(p *corev1.Pod) string { return tokenFor(t, tenant, "sfu", p, forwardingv1.Audience) }
	a := r.subscribed(t, token(first))
	r.subscribed(t, token(second))
	if _, err := r.placement.Claim(with(t, token(first)), &forwardingv1.ClaimRequest{
		ChannelId: "lobby", Opening: 1,
	}); err != nil {
		t.Fatal(err)
	}
	if err := a.CloseSend(); err != nil {
		t.Fatal(err)
	}
	_ = a.end()
	ctx := with(t, token(second))
	located, err := r.placement.Locate(ctx, &forwardingv1.LocateRequest{
		ChannelId: "lobby", Unreachable: []string{"sfu-0"},
	})
	if err != nil || !located.GetClaimed() || located.GetMediaServer().GetName() != "sfu-0" {
		t.Errorf("its pod is there, and it is located at %v: %v", located, err)
	}
	if err := k8s.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	until(t, "the claim passes on", func() bool {
		answer, err := r.placement.Claim(ctx, &forwardingv1.ClaimRequest{ChannelId: "lobby", Opening: 1})
		if err != nil {
			t.Fatal(err)
		}

		return answer.GetOwner().GetName() == "sfu-1"
	})
}
