package serve

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/claims"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// placing is a replica that serves Placement, whose Leases lie in the namespace.
func placing(t testing.TB, namespace string, change ...func(*claims.Config)) *serving {
	t.Helper()
	claiming := &claims.Config{Namespace: namespace}
	for _, c := range change {
		c(claiming)
	}
	s := serveClaims(t, knowledge.Config{Namespaces: []string{namespace}}, Config{}, claiming)
	until(t, "the replica serves", func() bool { return s.Ready() == nil && s.claims.Followed() == nil })

	return s
}

// joins has a media server stream to a replica, with an address at which others reach it.
func (s *serving) joins(
	t testing.TB, namespace, name string, change func(*forwardingv1.Hello), reports ...*forwardingv1.ChannelReport,
) *peer {
	t.Helper()
	p := s.introduced(t, namespace, name, func(hello *forwardingv1.Hello) {
		hello.PeerAddress = name + ":7440"
		if change != nil {
			change(hello)
		}
	}, reports...)
	tenant := s.knowledge.Tenant(namespace)
	until(t, name+" has reported everything", func() bool {
		err := tenant.MayOwn(claims.Holder{Name: name}, "lobby")

		return err == nil || !strings.Contains(err.Error(), "no stream")
	})

	return p
}

func (s *serving) locate(
	t testing.TB, namespace, from, channelID string, unreachable ...string,
) (owner string, claimed bool, err error) {
	t.Helper()
	answer, err := s.placement.Locate(within(t, patience), &forwardingv1.LocateRequest{
		Namespace: namespace, MediaServer: from, ChannelId: channelID, Unreachable: unreachable,
	})

	return answer.GetMediaServer().GetName(), answer.GetClaimed(), err
}

func (s *serving) claim(t testing.TB, namespace, from, channelID string) (owner string, err error) {
	t.Helper()
	answer, err := s.claimFor(t, namespace, from, channelID, 1)

	return answer.GetOwner().GetName(), err
}

func (s *serving) claimFor(
	t testing.TB, namespace, from, channelID string, opening uint64,
) (*forwardingv1.ClaimResponse, error) {
	t.Helper()

	return s.placement.Claim(within(t, patience), &forwardingv1.ClaimRequest{
		Namespace: namespace, MediaServer: from, ChannelId: channelID, Opening: opening,
	})
}

func (s *serving) release(t testing.TB, namespace, from string, channelIDs ...string) error {
	t.Helper()

	return s.releaseOf(t, namespace, from, opened(channelIDs...)...)
}

func (s *serving) releaseOf(t testing.TB, namespace, from string, openings ...*forwardingv1.Opening) error {
	t.Helper()
	_, err := s.placement.Release(within(t, patience), &forwardingv1.ReleaseRequest{
		Namespace: namespace, MediaServer: from, Openings: openings,
	})

	return err
}

// opened are the first openings of channels.
func opened(channelIDs ...string) (openings []*forwardingv1.Opening) {
	for _, id := range channelIDs {
		openings = append(openings, &forwardingv1.Opening{ChannelId: id, Number: 1})
	}

	return openings
}

// leases are those of channels, by the channel.
func leases(t testing.TB, namespace string) map[string]coordinationv1.Lease {
	t.Helper()
	var list coordinationv1.LeaseList
	if err := k8s.List(context.Background(), &list, client.InNamespace(namespace), client.HasLabels{
		claims.TenantLabel,
	}); err != nil {
		t.Fatal(err)
	}
	byChannel := map[string]coordinationv1.Lease{}
	for _, lease := range list.Items {
		byChannel[lease.Annotations[claims.ChannelAnnotation]] = lease
	}

	return byChannel
}

func TestAChannelIsLocatedClaimedAndReleased(t *testing.T) {
	namespace := newNamespace(t)
	s := placing(t, namespace)
	s.joins(t, namespace, "a", nil)
	s.joins(t, namespace, "b", nil)
	const channelID = "lesson/7 ねこ"

	// To locate makes nothing.
	chosen, claimed, err := s.locate(t, namespace, "a", channelID)
	if err != nil || claimed || chosen == "" {
		t.Fatalf("located at %q, claimed: %v, %v", chosen, claimed, err)
	}
	if made := leases(t, namespace); len(made) > 0 {
		t.Errorf("to locate made %v", made)
	}
	for _, from := range []string{"b", "a", "b"} {
		if owner, err := s.claim(t, namespace, from, channelID); err != nil || owner != "b" {
			t.Errorf("%s claims, and %q owns it: %v", from, owner, err)
		}
		if owner, claimed, err := s.locate(t, namespace, from, channelID); err != nil || owner != "b" || !claimed {
			t.Errorf("%s finds it at %q, claimed: %v, %v", from, owner, claimed, err)
		}
	}
	lease := leases(t, namespace)[channelID]
	if lease.Name != claims.NameOf(namespace, channelID) || lease.Spec.HolderIdentity == nil ||
		*lease.Spec.HolderIdentity != "b/" ||
		lease.Annotations[claims.NamespaceAnnotation] != namespace || lease.Labels[claims.TenantLabel] != namespace ||
		lease.Spec.AcquireTime == nil {
		t.Errorf("the Lease is %+v", lease)
	}

	// Another's claim, or none, is released without a word, and stays.
	if err := s.release(t, namespace, "a", channelID, "nothing"); err != nil {
		t.Error(err)
	}
	if owner, _, _ := s.locate(t, namespace, "a", channelID); owner != "b" {
		t.Errorf("a has released the claim of b: %q owns it", owner)
	}
	if err := s.release(t, namespace, "b", channelID); err != nil {
		t.Error(err)
	}
	if owner, err := s.claim(t, namespace, "a", channelID); err != nil || owner != "a" {
		t.Errorf("a claims what is released, and %q owns it: %v", owner, err)
	}
	if made := leases(t, namespace); len(made) != 1 || *made[channelID].Spec.HolderIdentity != "a/" {
		t.Errorf("in the end there are %v", made)
	}
}

// A release that comes late, by another replica, when the channel is open again, leaves it
// its owner; so does a claim that comes late.
func TestALateReleaseLeavesTheClaim(t *testing.T) {
	namespace := newNamespace(t)
	here, late := placing(t, namespace), placing(t, namespace)
	for _, s := range []*serving{here, late} {
		s.joins(t, namespace, "a", nil)
		s.joins(t, namespace, "b", nil)
	}
	claim := func(s *serving, opening, want uint64) {
		t.Helper()
		answer, err := s.claimFor(t, namespace, "a", "lobby", opening)
		if err != nil || answer.GetOwner().GetName() != "a" || answer.GetOpening() != want {
			t.Fatalf("it is claimed with %v: %v", answer, err)
		}
	}
	claim(here, 1, 1)
	if err := here.release(t, namespace, "a", "lobby"); err != nil {
		t.Fatal(err)
	}
	claim(here, 2, 2)
	claim(late, 1, 2)
	if err := late.release(t, namespace, "a", "lobby"); err != nil {
		t.Fatal(err)
	}
	if answer, err := late.claimFor(t, namespace, "b", "lobby", 1); err != nil || answer.GetOwner().GetName() != "a" ||
		answer.GetOpening() != 0 {
		t.Errorf("a channel that is open at a is claimed by b with %v: %v", answer, err)
	}
	if err := late.releaseOf(t, namespace, "a", &forwardingv1.Opening{ChannelId: "lobby", Number: 2}); err != nil {
		t.Fatal(err)
	}
	until(t, "what a has released is claimed by b", func() bool {
		answer, err := here.claimFor(t, namespace, "b", "lobby", 1)

		return err == nil && answer.GetOwner().GetName() == "b"
	})
}

// Two media servers that claim a new channel at once, by different replicas, and by the
// same, are told the same owner.
func TestTwoWhoClaimAtOnceAreToldTheSameOwner(t *testing.T) {
	const rounds = 200
	namespace := newNamespace(t)
	replicas := []*serving{placing(t, namespace), placing(t, namespace)}
	names := []string{"a", "b"}
	for _, s := range replicas {
		for _, name := range names {
			s.joins(t, namespace, name, nil)
		}
	}
	won := map[string]int{}
	for round := range rounds {
		channelID := fmt.Sprint("channel-", round)
		owners := make([]string, 2*len(names))
		var claiming sync.WaitGroup
		begin := make(chan struct{})
		for i := range owners {
			claiming.Go(func() {
				<-begin
				owner, err := replicas[(i+round)%2].claim(t, namespace, names[i/2], channelID)
				if err != nil {
					t.Error(err)
				}
				owners[i] = owner
			})
		}
		close(begin)
		claiming.Wait()
		if slices.Sort(owners); owners[0] != owners[len(owners)-1] {
			t.Fatalf("round %d: the owners are %v", round, owners)
		}
		won[owners[0]]++
		// Each replica finds it there at once, or where a claim would find it.
		for _, s := range replicas {
			if owner, err := s.claim(t, namespace, "a", channelID); err != nil || owner != owners[0] {
				t.Fatalf("round %d: afterwards %q owns it: %v", round, owner, err)
			}
		}
		if round%3 == 0 {
			if err := replicas[round%2].release(t, namespace, owners[0], channelID); err != nil {
				t.Fatal(err)
			}
			if owner, err := replicas[(round+1)%2].claim(t, namespace, "b", channelID); err != nil ||
				owner != "b" && owner != owners[0] {
				t.Fatalf("round %d: after the release %q owns it: %v", round, owner, err)
			}
		}
	}
	t.Logf("owners: %v", won)
}

func TestWhoDrainsOrIsFullIsGivenNoChannel(t *testing.T) {
	namespace := newNamespace(t)
	s := placing(t, namespace)
	a := s.joins(t, namespace, "a", func(h *forwardingv1.Hello) { h.MaxConnections = 2 }, wholeReport("old", "R"))
	s.joins(t, namespace, "b", func(h *forwardingv1.Hello) { h.MaxChannels = 1 }, wholeReport("older", "R", "S", "T"))
	s.joins(t, namespace, "hermit", func(h *forwardingv1.Hello) { h.PeerAddress = "" })

	// The hermit is reached by its own clients alone.
	for from, want := range map[string]string{"b": "a", "hermit": "hermit"} {
		if chosen, _, err := s.locate(t, namespace, from, "new"); err != nil || chosen != want {
			t.Errorf("%s is sent to %q: %v", from, chosen, err)
		}
	}
	_, _, err := s.locate(t, namespace, "b", "new", "a")
	expect(t, err, codes.ResourceExhausted, "no media server of the namespace has room")
	_, err = s.claim(t, namespace, "b", "new")
	expect(t, err, codes.FailedPrecondition, "1 channels, which is its bound")

	// One that is claimed and not reported yet counts.
	if owner, err := s.claim(t, namespace, "a", "first"); err != nil || owner != "a" {
		t.Fatal(owner, err)
	}
	if owner, err := s.claim(t, namespace, "a", "second"); err != nil || owner != "a" {
		t.Fatal(owner, err)
	}
	_, err = s.claim(t, namespace, "a", "third")
	expect(t, err, codes.FailedPrecondition, "2 connections, which is its bound")

	if err := s.release(t, namespace, "a", "first", "second"); err != nil {
		t.Fatal(err)
	}
	a.say(&forwardingv1.SubscribeRequest{
		Message: &forwardingv1.SubscribeRequest_Standing{Standing: &forwardingv1.Standing{Draining: true}},
	})
	until(t, "a drains", func() bool {
		_, _, err := s.locate(t, namespace, "b", "new")

		return status.Code(err) == codes.ResourceExhausted
	})
	_, err = s.claim(t, namespace, "a", "new")
	expect(t, err, codes.FailedPrecondition, "it drains")
	_, err = s.claim(t, namespace, "nobody", "new")
	expect(t, err, codes.Unavailable, "subscribe first")
}

// A burst of new channels is spread, though none of them has been reported yet.
func TestABurstOfNewChannelsIsSpread(t *testing.T) {
	namespace := newNamespace(t)
	s := placing(t, namespace)
	for _, name := range []string{"a", "b", "c"} {
		s.joins(t, namespace, name, nil)
	}
	opened := map[string]int{}
	for i := range 60 {
		channelID := fmt.Sprint("channel-", i)
		chosen, _, err := s.locate(t, namespace, "a", channelID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.claim(t, namespace, chosen, channelID); err != nil {
			t.Fatal(err)
		}
		opened[chosen]++
	}
	for name, n := range opened {
		if n < 15 || n > 25 {
			t.Errorf("%s has %d of 60: %v", name, n, opened)
		}
	}
}

// What somebody deletes by hand, or writes there, is mended by the next claim.
func TestALeaseThatIsDeletedOrBrokenByHand(t *testing.T) {
	namespace := newNamespace(t)
	s := placing(t, namespace)
	s.joins(t, namespace, "a", nil)
	s.joins(t, namespace, "b", nil)
	if owner, err := s.claim(t, namespace, "a", "lobby"); err != nil || owner != "a" {
		t.Fatal(owner, err)
	}
	lease := leases(t, namespace)["lobby"]
	if err := k8s.Delete(t.Context(), &lease); err != nil {
		t.Fatal(err)
	}
	until(t, "nobody owns it", func() bool {
		_, claimed, err := s.locate(t, namespace, "b", "lobby")

		return err == nil && !claimed
	})
	if owner, err := s.claim(t, namespace, "b", "lobby"); err != nil || owner != "b" {
		t.Errorf("%q owns it: %v", owner, err)
	}

	for what, breakIt := range map[string]func(*coordinationv1.Lease){
		"without a holder": func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = nil },
		"of nobody":        func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = new("me") },
		"of a stranger":    func(l *coordinationv1.Lease) { l.Annotations = nil },
	} {
		lease := leases(t, namespace)["lobby"]
		breakIt(&lease)
		if err := k8s.Update(t.Context(), &lease); err != nil {
			t.Fatal(err)
		}
		until(t, what+": nobody owns it", func() bool {
			_, claimed, err := s.locate(t, namespace, "b", "lobby")

			return err == nil && !claimed
		})
		if owner, err := s.claim(t, namespace, "a", "lobby"); err != nil || owner != "a" {
			t.Errorf("%s: %q owns it: %v", what, owner, err)
		}
		if mended := leases(t, namespace)["lobby"]; mended.Spec.HolderIdentity == nil || *mended.Spec.HolderIdentity != "a/" {
			t.Errorf("%s: the Lease is %+v", what, mended)
		}
	}
	// A Lease that has the label alone is nobody's claim.
	stray := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "stray", Labels: map[string]string{claims.TenantLabel: namespace},
	}}
	if err := k8s.Create(t.Context(), stray); err != nil {
		t.Fatal(err)
	}
	if owner, err := s.claim(t, namespace, "b", "other"); err != nil || owner != "b" {
		t.Errorf("%q owns it: %v", owner, err)
	}
}

func TestBadPlacementRequestsAreRefused(t *testing.T) {
	namespace := newNamespace(t)
	s := placing(t, namespace)
	s.joins(t, namespace, "a", nil)
	long := strings.Repeat("x", maxIDBytes+1)
	many := slices.Repeat([]string{"x"}, maxReleased+1)
	for name, x := range map[string]struct {
		call func() error
		want string
	}{
		"no namespace":      {func() error { return errorOf(s.claim(t, "", "a", "lobby")) }, "namespace is empty"},
		"another namespace": {func() error { return errorOf(s.claim(t, "elsewhere", "a", "lobby")) }, "not watched here"},
		"no media server":   {func() error { return errorOf(s.claim(t, namespace, "", "lobby")) }, "media_server is empty"},
		"a long name": {
			func() error { return errorOf(s.claim(t, namespace, long, "lobby")) }, "media_server has 256 bytes",
		},
		"no channel":     {func() error { return errorOf(s.claim(t, namespace, "a", "")) }, "channel_id is empty"},
		"a long channel": {func() error { return errorOf(s.claim(t, namespace, "a", long)) }, "channel_id has 256 bytes"},
		"no channel to locate": {
			func() error { return locateError(s.locate(t, namespace, "a", "")) }, "channel_id is empty",
		},
		"many unreachable": {
			func() error { return locateError(s.locate(t, namespace, "a", "lobby", many...)) }, "unreachable names 1001",
		},
		"an unreachable nobody": {
			func() error { return locateError(s.locate(t, namespace, "a", "lobby", "")) }, "unreachable",
		},
		"nothing to release": {func() error { return s.release(t, namespace, "a") }, "openings names 0"},
		"many to release":    {func() error { return s.release(t, namespace, "a", many...) }, "openings names 1001"},
		"a long name to release": {
			func() error { return s.release(t, namespace, "a", long) }, "openings[0].channel_id has 256 bytes",
		},
		"nothing among releases": {
			func() error { return s.release(t, namespace, "a", "lobby", "") }, "openings[1].channel_id is empty",
		},
		"no opening": {func() error {
			_, err := s.claimFor(t, namespace, "a", "lobby", 0)

			return err
		}, "opening is 0"},
		"a release of no opening": {
			func() error { return s.releaseOf(t, namespace, "a", &forwardingv1.Opening{ChannelId: "lobby"}) },
			"openings[0].number is 0",
		},
		"an address without port": {
			func() error { return s.open(t, helloWith(namespace, "x", "10.0.0.7", "")).end() }, "peer_address",
		},
		"an address without host": {
			func() error { return s.open(t, helloWith(namespace, "x", ":7440", "")).end() }, "peer_address",
		},
		"a port of 0": {func() error { return s.open(t, helloWith(namespace, "x", "host:0", "")).end() }, "peer_address"},
		"a port too high": {
			func() error { return s.open(t, helloWith(namespace, "x", "host:65536", "")).end() }, "peer_address",
		},
		"a long address": {
			func() error { return s.open(t, helloWith(namespace, "x", long+long+":1", "")).end() }, "peer_address has",
		},
		"an http URL": {
			func() error { return s.open(t, helloWith(namespace, "x", "", "http://h/signaling")).end() }, "signaling_url",
		},
		"a URL without host": {
			func() error { return s.open(t, helloWith(namespace, "x", "", "ws:///signaling")).end() }, "signaling_url",
		},
		"a URL with a password": {
			func() error { return s.open(t, helloWith(namespace, "x", "", "wss://a:b@h/signaling")).end() }, "signaling_url",
		},
		"a long URL": {func() error {
			return s.open(t, helloWith(namespace, "x", "", "wss://h/"+strings.Repeat("x", 1024))).end()
		}, "signaling_url has"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, x.call(), codes.InvalidArgument, x.want) })
	}
}

func helloWith(namespace, name, peerAddress, signalingURL string) *forwardingv1.SubscribeRequest {
	m := helloOf(namespace, name)
	m.GetHello().PeerAddress, m.GetHello().SignalingUrl = peerAddress, signalingURL

	return m
}

func errorOf(_ string, err error) error { return err }

func locateError(_ string, _ bool, err error) error { return err }

// Each media server is told who the others are, and where they are reached.
func TestMembersAreToldOnTheStream(t *testing.T) {
	namespace := newNamespace(t)
	s := placing(t, namespace)
	s.joins(t, namespace, "a", func(h *forwardingv1.Hello) { h.SignalingUrl = "wss://a.example.org/signaling" })
	hello := helloWith(namespace, "b", "10.0.0.2:7440", "")
	members := s.open(t, hello, completion).await(t, func(m *forwardingv1.SubscribeResponse) bool {
		return m.GetMembers() != nil
	}).GetMembers()
	byName := map[string]*forwardingv1.Member{}
	for _, member := range members.GetSet() {
		byName[member.GetName()] = member
	}
	if !members.GetWhole() || len(members.GetKey()) != 32 || len(byName) != 2 ||
		byName["a"].GetPeerAddress() != "a:7440" ||
		byName["a"].GetSignalingUrl() != "wss://a.example.org/signaling" || byName["b"].GetPeerAddress() != "10.0.0.2:7440" {
		t.Errorf("told %v", members)
	}
}

// That nobody hosts a channel is not said by one who has never listed who owns which.
func TestWithoutClaimsListedNobodyIsSaidToHostNothing(t *testing.T) {
	namespace := newNamespace(t)
	s := serveClaims(t, knowledge.Config{Namespaces: []string{namespace}}, Config{},
		&claims.Config{Namespace: "there-is-none"})
	blind := serveClaims(t, knowledge.Config{Namespaces: []string{namespace}}, Config{},
		&claims.Config{Namespace: namespace, REST: anonymous()})
	for _, s := range []*serving{s, blind} {
		until(t, "the replica has listened", func() bool {
			listened := s.knowledge.Tenant(namespace).Listened()

			return !listened.IsZero() && time.Since(listened) > knowledge.OfficeBeforeArmed
		})
	}
	request := &forwardingv1.ListRequest{Namespace: namespace, ChannelId: "lobby"}
	if edges, _, err := s.list(t, request); err != nil || len(edges) > 0 {
		t.Errorf("one that has listed them says %v, %v", edges, err)
	}
	_, _, err := blind.list(t, request)
	expect(t, err, codes.Unavailable, "has not listed the claims")
}

// anonymous is a configuration of somebody who may nothing.
func anonymous() *rest.Config { return rest.AnonymousClientConfig(plane.Config) }
