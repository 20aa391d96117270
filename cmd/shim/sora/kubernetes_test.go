package sora

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/cmd/shim/live"
)

func clientset(t testing.TB) *kubernetes.Clientset {
	t.Helper()
	set, err := kubernetes.NewForConfig(apiServer(t).Config)
	if err != nil {
		t.Fatal(err)
	}

	return set
}

// userWith is a client of somebody who may do these verbs in the namespace default,
// and the user's name.
func userWith(t testing.TB, name string, verbs ...string) (client.Client, string) {
	t.Helper()
	// An earlier run of the test may have had a user of the name.
	name += rand.String(6)
	user, err := apiServer(t).Environment.AddUser(envtest.User{Name: name}, &rest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	grant(t, name, verbs...)

	return newClient(t, user.Config()), name
}

func grant(t testing.TB, name string, verbs ...string) {
	t.Helper()
	if len(verbs) == 0 {
		return
	}
	roles := clientset(t).RbacV1()
	meta := metav1.ObjectMeta{Name: name, Namespace: "default"}
	if _, err := roles.Roles("default").Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"rtp.nagi.dev"}, Resources: []string{"rtpstreampauses"}, Verbs: verbs},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := roles.RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta,
		Subjects:   []rbacv1.Subject{{Kind: "User", Name: name}},
		RoleRef:    rbacv1.RoleRef{Kind: "Role", Name: name},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestForbidden(t *testing.T) {
	nobody, _ := userWith(t, "nobody")
	s := newShim(t, 1, func(c *Config) { c.Client = nobody })
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	for operation, body := range map[string]string{
		pauseTarget:  edgeBody(channel, alice, bob),
		resumeTarget: edgeBody(channel, alice, bob),
		listTarget:   channelBody(channel),
	} {
		s.expectFailure(operation, body, http.StatusForbidden, forbidden,
			`"the shim's ServiceAccount lacks the right to get, list, create, update, delete rtpstreampauses.rtp.nagi.dev `+
				`in the namespace default: bind it to the role nagi-shim"`)
	}
}

// createNamespace makes a namespace and returns its name.
func createNamespace(t testing.TB) string {
	t.Helper()
	namespace, err := clientset(t).CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shim-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	return namespace.Name
}

// TestNamespaces: one that is absent, or on its way out, is nobody's missing right
// and nothing that repeating mends.
func TestNamespaces(t *testing.T) {
	ending := createNamespace(t)
	// No controller runs that would finish the deletion.
	if err := clientset(t).CoreV1().Namespaces().Delete(t.Context(), ending, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for namespace, want := range map[string]string{ending: namespaceTerminating, "absent": namespaceNotFound} {
		s := newShim(t, 1, func(c *Config) { c.Namespace = namespace })
		s.views[0].join(t.Name(), sendrecv(alice), sendrecv(bob))
		body := edgeBody(t.Name(), alice, bob)
		s.expectFailure(pauseTarget, body, http.StatusServiceUnavailable, want, `"namespace":"`+namespace+`"`)
		if _, got := s.post(pauseTarget, body); strings.Contains(got, "ServiceAccount") || strings.Contains(got, "repeat") {
			t.Errorf("%s: %s", namespace, got)
		}
	}
}

// logged is a log to look into.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.String()
}

// TestAdmissionPolicy: what a policy says is in the log, and not told to clients.
func TestAdmissionPolicy(t *testing.T) {
	set := clientset(t)
	namespace := createNamespace(t)
	policies := set.AdmissionregistrationV1()
	reason := metav1.StatusReasonForbidden
	creations := admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{"CREATE"},
		Rule: admissionv1.Rule{
			APIGroups: []string{"rtp.nagi.dev"}, APIVersions: []string{"*"}, Resources: []string{"*"},
		},
	}
	if _, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "no-pauses-" + namespace},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: creations}},
			},
			Validations: []admissionv1.Validation{{Expression: "false", Message: "secret words", Reason: &reason}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := policies.ValidatingAdmissionPolicyBindings().Create(t.Context(),
		&admissionv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "no-pauses-" + namespace},
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: "no-pauses-" + namespace, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
				MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{
					MatchLabels: map[string]string{"kubernetes.io/metadata.name": namespace},
				}},
			},
		}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	s := newShim(t, 1, func(c *Config) { c.Namespace, c.Log = namespace, slog.New(slog.NewTextHandler(log, nil)) })
	s.views[0].join(t.Name(), sendrecv(alice), sendrecv(bob))
	body := edgeBody(t.Name(), alice, bob)
	var code int
	var got string
	// The API server takes a moment to learn of the policy.
	for deadline := time.Now().Add(30 * time.Second); code != http.StatusForbidden && time.Now().Before(deadline); {
		code, got = s.post(pauseTarget, body)
	}
	if code != http.StatusForbidden || !strings.Contains(got, "admission policy") || strings.Contains(got, "secret") ||
		strings.Contains(got, "no-pauses") || strings.Contains(got, "ServiceAccount") {
		t.Errorf("%d %s", code, got)
	}
	if !strings.Contains(log.String(), "secret words") {
		t.Errorf("the log does not tell: %s", log)
	}
}

func TestKubernetesUnavailable(t *testing.T) {
	log := &logged{}
	s := newShim(t, 1, func(c *Config) { c.Client, c.Log = unreachable(t), slog.New(slog.NewTextHandler(log, nil)) })
	channel := t.Name()
	s.views[0].join(channel, sendrecv(alice), sendrecv(bob))
	for operation, body := range map[string]string{
		pauseTarget:  edgeBody(channel, alice, bob),
		resumeTarget: edgeBody(channel, alice, bob),
		listTarget:   channelBody(channel),
	} {
		s.expect(operation, body, http.StatusServiceUnavailable,
			`{"error_reason":{"message":"the API server cannot be reached; repeat the request"},`+
				`"error_type":"KUBERNETES-UNAVAILABLE"}`)
		if !strings.Contains(log.String(), "refused by the test's network") {
			t.Errorf("%s: the log does not tell: %s", operation, log)
		}
	}
}

// through is a client whose requests take another way.
func through(
	t testing.TB, config *rest.Config, way func(*http.Request, http.RoundTripper) (*http.Response, error),
) client.Client {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) { return way(r, next) })
	})

	return newClient(t, config)
}

// unreachable is a client whose every request fails on its way.
func unreachable(t testing.TB) client.Client {
	return through(t, &rest.Config{Host: "http://127.0.0.1:1"},
		func(*http.Request, http.RoundTripper) (*http.Response, error) {
			return nil, errors.New("connection refused by the test's network")
		})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestWordsOfTheAPIServer: none of what it may answer reaches a client.
func TestWordsOfTheAPIServer(t *testing.T) {
	for code, test := range map[int]struct {
		wantStatus int
		wantName   string
	}{
		http.StatusUnauthorized:        {http.StatusForbidden, forbidden},
		http.StatusBadRequest:          {http.StatusForbidden, forbidden},
		http.StatusUnprocessableEntity: {http.StatusForbidden, forbidden},
		http.StatusNotFound:            {http.StatusServiceUnavailable, kubernetesUnavailable},
		http.StatusTooManyRequests:     {http.StatusServiceUnavailable, kubernetesUnavailable},
		http.StatusInternalServerError: {http.StatusServiceUnavailable, kubernetesUnavailable},
		http.StatusServiceUnavailable:  {http.StatusServiceUnavailable, kubernetesUnavailable},
		http.StatusGatewayTimeout:      {http.StatusServiceUnavailable, kubernetesUnavailable},
		http.StatusConflict:            {http.StatusServiceUnavailable, kubernetesUnavailable},
		http.StatusOK:                  {http.StatusServiceUnavailable, kubernetesUnavailable},
	} {
		s := newShim(t, 1, func(c *Config) {
			c.Client = through(t, &rest.Config{Host: "http://127.0.0.1:1"},
				func(r *http.Request, _ http.RoundTripper) (*http.Response, error) {
					return &http.Response{
						StatusCode: code, Header: http.Header{"Content-Type": {"text/plain"}}, Request: r,
						Body: io.NopCloser(strings.NewReader("goroutine 1 [running]: secret 10.0.0.1:6443")),
					}, nil
				})
		})
		s.views[0].join(t.Name(), sendrecv(alice), sendrecv(bob))
		gotStatus, got := s.post(pauseTarget, edgeBody(t.Name(), alice, bob))
		if gotStatus != test.wantStatus || !strings.Contains(got, test.wantName) || strings.Contains(got, "secret") ||
			strings.Contains(got, "goroutine") {
			t.Errorf("%d: %d %s", code, gotStatus, got)
		}
	}
}

func TestReady(t *testing.T) {
	partly, _ := userWith(t, "partly", "get", "list", "create", "delete")
	withoutReviews := through(t, apiServer(t).Config,
		func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "selfsubjectaccessreviews") {
				return &http.Response{
					StatusCode: http.StatusNotFound,
					Header:     http.Header{},
					Body:       io.NopCloser(strings.NewReader("404 page not found")),
					Request:    r,
				}, nil
			}

			return next.RoundTrip(r)
		})
	failing := func(code codes.Code) func(*shim) {
		return func(s *shim) {
			s.views[0].set(func(v *view) { v.failing = status.Error(code, "says the manager") })
		}
	}
	for name, test := range map[string]struct {
		client client.Client
		change func(*shim)
		want   string
		is     error
	}{
		"ready":      {nil, nil, "", nil},
		"no reviews": {withoutReviews, nil, "", nil},
		"a right is lacking": {
			partly, nil, "lacks the right to update rtpstreampauses.rtp.nagi.dev in the namespace default", nil,
		},
		"API server away": {unreachable(t), nil, "refused by the test's network", nil},
		"not served": {nil, failing(codes.InvalidArgument), "namespace default: no manager replica serves the namespace",
			live.ErrNotServed},
		"no manager": {nil, failing(codes.Unavailable), "no manager replica answered", live.ErrNoReplica},
		"both":       {partly, failing(codes.Unavailable), "lacks the right to update", live.ErrNoReplica},
	} {
		s := newShim(t, 1, func(c *Config) {
			if test.client != nil {
				c.Client = test.client
			}
		})
		if test.change != nil {
			test.change(s)
		}
		err := s.handler.Ready()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) ||
			test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}

	// A right that is given later shows at once.
	later, name := userWith(t, "later")
	s := newShim(t, 1, func(c *Config) { c.Client = later })
	if s.handler.Ready() == nil {
		t.Error("ready without rights")
	}
	grant(t, name, verbs...)
	for deadline := time.Now().Add(10 * time.Second); s.handler.Ready() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not ready with rights")
		}
	}
}
