package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/controllers/identity"
)

// expect fails unless the error has the code and says the words.
func expect(t *testing.T, err error, code codes.Code, words string) {
	t.Helper()
	if status.Code(err) != code || err != nil && !strings.Contains(err.Error(), words) {
		t.Errorf("%v; want %s, with %q", err, code, words)
	}
}

// What no handler asks for cannot be forgotten by one that comes later.
func TestEveryCallNeedsAToken(t *testing.T) {
	namespace := newNamespace(t)
	r := review(t, time.Minute, namespace)
	for _, service := range []grpc.ServiceDesc{forwardingv1.Forwarding_ServiceDesc, forwardingv1.View_ServiceDesc,
		forwardingv1.Control_ServiceDesc, forwardingv1.Placement_ServiceDesc} {
		for name, call := range callsOf(service) {
			for what, ctx := range map[string]context.Context{
				"no token": within(t, patience), "no such token": with(t, "eyJhbGciOiJub25lIn0.e30."), "nothing": with(t, ""),
			} {
				t.Run(name+" with "+what, func(t *testing.T) {
					expect(t, call(ctx, r.connection, namespace), codes.Unauthenticated, "show a ServiceAccount token")
				})
			}
		}
	}
	if r.log.contain("eyJhbGci") {
		t.Error("the token is in the log")
	}
}

// callsOf makes each call of a service, with a request that names the namespace.
func callsOf(service grpc.ServiceDesc) map[string]func(context.Context, *grpc.ClientConn, string) error {
	calls := map[string]func(context.Context, *grpc.ClientConn, string) error{}
	add := func(method string, desc *grpc.StreamDesc) {
		name := fmt.Sprintf("/%s/%s", service.ServiceName, method)
		calls[name] = func(ctx context.Context, connection *grpc.ClientConn, namespace string) error {
			stream, err := connection.NewStream(ctx, desc, name)
			if err != nil {
				return err
			}
			if desc.ClientStreams {
				_ = stream.SendMsg(&forwardingv1.SubscribeRequest{})
			} else {
				// The namespace is the first field of every request.
				_ = stream.SendMsg(&forwardingv1.ConnectionsRequest{Namespace: namespace})
				_ = stream.CloseSend()
			}

			return stream.RecvMsg(&forwardingv1.ConnectionsResponse{})
		}
	}
	for _, method := range service.Methods {
		add(method.MethodName, &grpc.StreamDesc{})
	}
	for _, stream := range service.Streams {
		add(stream.StreamName, &grpc.StreamDesc{ServerStreams: true, ClientStreams: stream.ClientStreams})
	}

	return calls
}

func TestWhoAMediaServerIsItsTokenSays(t *testing.T) {
	namespace, other := newNamespace(t), newNamespace(t)
	r := review(t, time.Minute, namespace, other)
	account(t, namespace, "sfu", identity.Subscribe)
	account(t, namespace, "powerless", identity.List)
	account(t, other, "sfu", identity.Subscribe)
	p := pod(t, namespace, "sfu", "sfu-0")
	foreign := tokenFor(t, other, "sfu", pod(t, other, "sfu", "sfu-0"), forwardingv1.Audience)
	right := tokenFor(t, namespace, "sfu", p, forwardingv1.Audience)
	strange, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	gone := pod(t, namespace, "sfu", "gone")
	ofGone := tokenFor(t, namespace, "sfu", gone, forwardingv1.Audience)
	if err := k8s.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	until(t, "the pod is gone", func() bool {
		return k8s.Get(context.Background(), clientKey(gone), &corev1.Pod{}) != nil
	})
	hello := func(namespace, name string) *forwardingv1.Hello {
		return &forwardingv1.Hello{Namespace: namespace, MediaServer: name}
	}
	for name, test := range map[string]struct {
		token string
		hello *forwardingv1.Hello
		code  codes.Code
		words string
	}{
		"its own":      {right, hello(namespace, "sfu-0"), codes.OK, ""},
		"says nothing": {right, hello("", ""), codes.OK, ""},
		"says another namespace": {
			right, hello(other, "sfu-0"), codes.PermissionDenied, "start it with --namespace=" + namespace,
		},
		"says another name": {right, hello(namespace, "sfu-1"), codes.PermissionDenied, "start it with --name=sfu-0"},
		"of another namespace": {
			foreign, hello(namespace, "sfu-0"), codes.PermissionDenied, "start it with --namespace=" + other,
		},
		"for another audience": {
			tokenFor(t, namespace, "sfu", p, "vault"), hello("", ""), codes.Unauthenticated, "audience",
		},
		"for the API server": {
			tokenFor(t, namespace, "sfu", p, apiAudience(t)), hello("", ""), codes.Unauthenticated, "audience",
		},
		"expired": {ending(t, right, time.Now().Add(-2*leeway), nil), hello("", ""), codes.Unauthenticated, "expired"},
		"of another cluster": {ending(t, right, time.Now().Add(time.Hour), strange), hello("", ""), codes.Unauthenticated,
			"show a ServiceAccount token of this cluster"},
		"of no pod": {tokenFor(t, namespace, "sfu", nil, forwardingv1.Audience), hello("", ""), codes.PermissionDenied,
			"bound to no pod"},
		"of a pod that is gone": {ofGone, hello("", ""), codes.Unauthenticated, ""},
		"of one that may not": {
			tokenFor(t, namespace, "powerless", pod(t, namespace, "powerless", "powerless-0"), forwardingv1.Audience),
			hello("", ""), codes.PermissionDenied, "may not subscribe",
		},
		"and something else":        {right + " else", hello("", ""), codes.Unauthenticated, ""},
		"longer than any token":     {strings.Repeat("a", 17<<10), hello("", ""), codes.Unauthenticated, ""},
		"signed by another, though": {right[:len(right)-8] + "AAAAAAAA", hello("", ""), codes.Unauthenticated, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := r.subscribe(t, test.token, test.hello)
			if test.code != codes.OK {
				expect(t, c.end(), test.code, test.words)

				return
			}
			welcome := c.await(t, func(m *forwardingv1.SubscribeResponse) bool { return m.GetWelcome() != nil }).GetWelcome()
			if len(welcome.GetFeatures()) != 1 || welcome.GetFeatures()[0] != forwardingv1.FeatureToken {
				t.Errorf("the features are %q", welcome.GetFeatures())
			}
			c.send(t, said(wholeReport("sora", "R")))
			until(t, "it hosts under the names of its token", func() bool {
				sessions, _ := r.knowledge.Tenant(namespace).Hosts("sora")

				return len(sessions) == 1 && sessions[0].MediaServer() == "sfu-0"
			})
		})
	}
	for _, token := range []string{right, foreign, ofGone} {
		if r.log.contain(token[len(token)-40:]) {
			t.Error("a token is in the log")
		}
	}
}

// Each right that the shipped roles give is needed, and is enough.
func TestShippedRoles(t *testing.T) {
	namespace := newNamespace(t)
	r := review(t, time.Minute, namespace)
	tokens := map[string]string{}
	for name, rules := range map[string]struct{ program, lacks string }{
		"sfu": {"mediaserver", ""}, "sfu-without-subscribe": {"mediaserver", identity.Subscribe},
		"shim":                    {"shim", ""},
		"shim-without-list":       {"shim", identity.List},
		"shim-without-disconnect": {"shim", identity.Disconnect},
	} {
		accountWith(t, namespace, name, lacking(shippedRules(t, rules.program), rules.lacks))
		tokens[name] = tokenFor(t, namespace, name, pod(t, namespace, name, name), forwardingv1.Audience)
	}
	calls := map[string]func(context.Context, *grpc.ClientConn, string) error{}
	for _, service := range []grpc.ServiceDesc{forwardingv1.Forwarding_ServiceDesc, forwardingv1.View_ServiceDesc,
		forwardingv1.Control_ServiceDesc, forwardingv1.Placement_ServiceDesc} {
		for name, call := range callsOf(service) {
			calls[name] = call
		}
	}
	right := map[string][]string{
		"/nagi.forwarding.v1.Forwarding/Subscribe": {"sfu"},
		"/nagi.forwarding.v1.View/Connections":     {"shim", "shim-without-disconnect"},
		"/nagi.forwarding.v1.View/WaitEnforced":    {"shim", "shim-without-disconnect"},
		"/nagi.forwarding.v1.View/List":            {"shim", "shim-without-disconnect"},
		"/nagi.forwarding.v1.View/Explain":         {"shim", "shim-without-disconnect"},
		"/nagi.forwarding.v1.Control/Disconnect":   {"shim", "shim-without-list"},
		"/nagi.forwarding.v1.Placement/Locate":     {"sfu"},
		"/nagi.forwarding.v1.Placement/Claim":      {"sfu"},
		"/nagi.forwarding.v1.Placement/Release":    {"sfu"},
	}
	if len(calls) != len(right) {
		t.Errorf("there are %d calls, and rights for %d", len(calls), len(right))
	}
	for name, call := range calls {
		for caller, token := range tokens {
			t.Run(name+" by "+caller, func(t *testing.T) {
				err := call(with(t, token), r.connection, namespace)
				allowed := strings.Contains(" "+strings.Join(right[name], " ")+" ", " "+caller+" ")
				// What is let in is told that it did not say what it wants.
				if allowed && status.Code(err) != codes.InvalidArgument {
					t.Errorf("let in, it gets %v", err)
				}
				if !allowed {
					expect(t, err, codes.PermissionDenied, "bind a role with that verb")
				}
			})
		}
	}
}

// What one may in its own namespace it may nowhere else.
func TestAShimOfAnotherNamespaceSeesNothing(t *testing.T) {
	namespace, other := newNamespace(t), newNamespace(t)
	r := review(t, time.Minute, namespace)
	accountWith(t, other, "shim", shippedRules(t, "shim"))
	ctx := with(t, tokenFor(t, other, "shim", nil, forwardingv1.Audience))
	_, err := r.view.WaitEnforced(ctx, &forwardingv1.WaitEnforcedRequest{Namespace: namespace, Uid: "u"})
	expect(t, err, codes.PermissionDenied, "in namespace "+namespace)
	_, err = r.control.Disconnect(ctx, &forwardingv1.DisconnectRequest{Namespace: namespace, ChannelId: "sora"})
	expect(t, err, codes.PermissionDenied, "in namespace "+namespace)
	_, err = r.control.Disconnect(ctx, &forwardingv1.DisconnectRequest{ChannelId: "sora"})
	expect(t, err, codes.InvalidArgument, "namespace is empty")
	_, err = r.control.Disconnect(ctx, &forwardingv1.DisconnectRequest{
		Namespace: other,
		ChannelId: "sora",
		Dismissal: &forwardingv1.Dismissal{Whom: &forwardingv1.Dismissal_Everyone{Everyone: &forwardingv1.Everyone{}}},
	})
	expect(t, err, codes.InvalidArgument, "is not watched here")
	if err == nil || strings.Contains(err.Error(), namespace) {
		t.Errorf("it is told who else is a tenant: %v", err)
	}
	for _, name := range []string{strings.Repeat("a", 1<<16), namespace + "\n", "*", "../" + namespace} {
		asked := r.way.asked.Load()
		_, err = r.control.Disconnect(ctx, &forwardingv1.DisconnectRequest{Namespace: name, ChannelId: "sora"})
		expect(t, err, codes.InvalidArgument, "namespace is no name")
		if r.way.asked.Load() != asked || len(err.Error()) > 1<<10 {
			t.Errorf("%.20q is handed on", name)
		}
	}
}

// However often strangers come, the log stays short.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	r := review(t, time.Minute, newNamespace(t))
	for i := range 50 {
		stranger := r.subscribe(t, fmt.Sprint("invented-", i), &forwardingv1.Hello{})
		expect(t, stranger.end(), codes.Unauthenticated, "who calls is not known")
	}
	if lines := r.log.count("\n"); lines > 20 {
		t.Errorf("%d lines in the log", lines)
	}
}

// Within a minute the API server is asked once, however much a shim wants to know.
func TestAReviewCountsForAWhile(t *testing.T) {
	namespace := newNamespace(t)
	r := review(t, time.Minute, namespace)
	accountWith(t, namespace, "shim", shippedRules(t, "shim"))
	ctx := with(t, tokenFor(t, namespace, "shim", nil, forwardingv1.Audience))
	for range 5 {
		_, err := r.view.WaitEnforced(ctx, &forwardingv1.WaitEnforcedRequest{Namespace: namespace})
		expect(t, err, codes.InvalidArgument, "uid")
	}
	if asked := r.way.asked.Load(); asked != 2 {
		t.Errorf("the API server was asked %d times, want once for the token and once for the right", asked)
	}
	_, err := r.control.Disconnect(ctx, &forwardingv1.DisconnectRequest{Namespace: namespace})
	expect(t, err, codes.InvalidArgument, "channel_id")
	if asked := r.way.asked.Load(); asked != 4 {
		t.Errorf("for another verb it was asked %d times more, want 2", asked-2)
	}
}
