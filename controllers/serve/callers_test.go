package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientmodel "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/metadata"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/claims"
	"github.com/nagi-rtc/nagi/controllers/identity"
	"github.com/nagi-rtc/nagi/controllers/knowledge"
)

// way is a manager's way to the API server, for reviews, which a test cuts.
type way struct {
	next http.RoundTripper
	away atomic.Bool
	// asked counts the requests, answered or not.
	asked atomic.Int32
}

func (w *way) RoundTrip(request *http.Request) (*http.Response, error) {
	w.asked.Add(1)
	if w.away.Load() {
		return nil, errors.New("the API server is away")
	}

	return w.next.RoundTrip(request)
}

// reviewing is a replica that reviews its callers.
type reviewing struct {
	*serving
	way     *way
	log     *lines
	reviews *prometheus.Registry
}

// counted is the sum of a counter of the reviews, of those with the label's value; of
// all where that is empty.
func (r *reviewing) counted(t testing.TB, name, value string) (sum float64) {
	t.Helper()
	families, err := r.reviews.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			has := func(label *clientmodel.LabelPair) bool { return label.GetValue() == value }
			if value == "" || slices.ContainsFunc(metric.GetLabel(), has) {
				sum += metric.GetCounter().GetValue()
			}
		}
	}

	return sum
}

// review starts a replica that reviews its callers, again when a review is so old.
func review(t testing.TB, good time.Duration, namespaces ...string) *reviewing {
	t.Helper()
	r := &reviewing{way: &way{}, log: &lines{}, reviews: prometheus.NewRegistry()}
	config := rest.CopyConfig(plane.Config)
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		r.way.next = next

		return r.way
	})
	log := slog.New(slog.NewTextHandler(r.log, nil))
	reviewer, err := identity.New(identity.Config{REST: config, Log: log, Registerer: r.reviews, Good: good})
	if err != nil {
		t.Fatal(err)
	}
	// The Leases of channels lie in the first of the namespaces.
	claiming := &claims.Config{Namespace: namespaces[0], Pods: true}
	r.serving = serveClaims(t, knowledge.Config{Namespaces: namespaces, Log: log},
		Config{Reviewer: reviewer, VersionInterval: 50 * time.Millisecond}, claiming)
	until(t, "the replica serves", func() bool { return r.Ready() == nil && r.claims.Followed() == nil })

	return r
}

// account makes a ServiceAccount that may do this to pauses of its namespace.
func account(t testing.TB, namespace, name string, verbs ...string) {
	t.Helper()
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{v1alpha1.Plural}, Verbs: verbs},
	}
	accountWith(t, namespace, name, rules)
}

func accountWith(t testing.TB, namespace, name string, rules []rbacv1.PolicyRule) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	for _, object := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: meta},
		&rbacv1.Role{ObjectMeta: meta, Rules: rules},
		&rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
		},
	} {
		if err := k8s.Create(context.Background(), object); err != nil {
			t.Fatal(err)
		}
	}
}

// pod makes a pod that runs as the account. Nothing runs it: there is no kubelet.
func pod(t testing.TB, namespace, account, name string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{
		ServiceAccountName: account, Containers: []corev1.Container{{Name: "mediaserver", Image: "mediaserver"}},
	}}
	if err := k8s.Create(context.Background(), p); err != nil {
		t.Fatal(err)
	}

	return p
}

// tokenFor has the API server make a token of the account, as kubelet does; of a pod
// where there is one.
func tokenFor(t testing.TB, namespace, account string, p *corev1.Pod, audience string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	if p != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{
			Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID,
		}
	}
	owner := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	if err := k8s.SubResource("token").Create(context.Background(), owner, request); err != nil {
		t.Fatal(err)
	}

	return request.Status.Token
}

// mediaServerToken is that of a pod of its own, whose account may subscribe.
func mediaServerToken(t testing.TB, namespace, name string) string {
	t.Helper()
	account(t, namespace, name, identity.Subscribe)

	return tokenFor(t, namespace, name, pod(t, namespace, name, name), forwardingv1.Audience)
}

// ending is the token with another end, signed by the key; nil: the API server's own.
func ending(t testing.TB, token string, end time.Time, key *ecdsa.PrivateKey) string {
	t.Helper()
	if key == nil {
		content, err := os.ReadFile(filepath.Join(plane.Environment.ControlPlane.GetAPIServer().CertDir, "sa-signer.key"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(content)
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		key = parsed.(*ecdsa.PrivateKey)
	}
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	begin := end.Add(-10 * time.Minute).Unix()
	claims["iat"], claims["nbf"], claims["exp"] = begin, begin, end.Unix()
	if payload, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64) // RFC 7518, 3.4.
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])

	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// with is a context whose calls show the token.
func with(t testing.TB, token string) context.Context {
	return metadata.AppendToOutgoingContext(within(t, 2*patience), "authorization", "Bearer "+token)
}

// subscribe opens a stream that shows the token, and says Hello.
func (r *reviewing) subscribe(t testing.TB, token string, hello *forwardingv1.Hello) *call {
	t.Helper()
	stream, err := forwardingv1.NewForwardingClient(r.connection).Subscribe(with(t, token))
	if err != nil {
		t.Fatal(err)
	}
	c := &call{stream}
	hello.Incarnation = "first"
	c.send(t, &forwardingv1.SubscribeRequest{Message: &forwardingv1.SubscribeRequest_Hello{Hello: hello}}, completion)

	return c
}

// shippedRules are those of a role in config/rbac.
func shippedRules(t testing.TB, program string) []rbacv1.PolicyRule {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", program, "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// The first one is what is bound in a namespace.
	document, _, _ := strings.Cut(strings.TrimPrefix(string(content), "---\n"), "\n---\n")
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(document), &role); err != nil {
		t.Fatal(err)
	}

	return role.Rules
}

// lacking are the rules without one verb.
func lacking(rules []rbacv1.PolicyRule, verb string) []rbacv1.PolicyRule {
	var left []rbacv1.PolicyRule
	for _, rule := range rules {
		kept := *rule.DeepCopy()
		kept.Verbs = nil
		for _, v := range rule.Verbs {
			if v != verb {
				kept.Verbs = append(kept.Verbs, v)
			}
		}
		if len(kept.Verbs) > 0 {
			left = append(left, kept)
		}
	}

	return left
}
