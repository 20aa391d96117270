package sora

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nagi-rtc/nagi/cmd/shim/callers"
)

// account is a ServiceAccount.
type account struct{ namespace, name string }

// newAccount makes a ServiceAccount, and its namespace if there is none.
func newAccount(t testing.TB, namespace string) account {
	t.Helper()
	core := clientset(t).CoreV1()
	home := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	_, err := core.Namespaces().Create(t.Context(), home, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	wanted := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: "program-"}}
	made, err := core.ServiceAccounts(namespace).Create(t.Context(), wanted, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	return account{namespace, made.Name}
}

// user is the name that the API server knows the account by.
func (a account) user() string { return "system:serviceaccount:" + a.namespace + ":" + a.name }

// token is what `kubectl create token` gives; without audiences it is for the API server.
func (a account) token(t testing.TB, audiences ...string) string {
	t.Helper()
	accounts := clientset(t).CoreV1().ServiceAccounts(a.namespace)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	made, err := accounts.CreateToken(t.Context(), a.name, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	return made.Status.Token
}

// delete deletes the account, and returns once its tokens are nobody's.
func (a account) delete(t testing.TB) {
	t.Helper()
	token := a.token(t)
	accounts := clientset(t).CoreV1().ServiceAccounts(a.namespace)
	if err := accounts.Delete(t.Context(), a.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	settled(t, "the tokens of a deleted ServiceAccount to be nobody's", func() bool {
		review, err := clientset(t).AuthenticationV1().TokenReviews().Create(t.Context(),
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}

		return !review.Status.Authenticated
	})
}

// client is the API server as the account sees it.
func (a account) client(t testing.TB) client.Client {
	t.Helper()
	config := rest.AnonymousClientConfig(apiServer(t).Config)
	config.BearerToken = a.token(t)

	return newClient(t, config)
}

func (a account) subjects() []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: a.namespace, Name: a.name}}
}

// bind binds the account to a role that we ship, in one namespace.
func (a account) bind(t testing.TB, namespace, role string) {
	t.Helper()
	shipRole(t, role)
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: a.name + "-", Namespace: namespace}, Subjects: a.subjects(),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	bindings := clientset(t).RbacV1().RoleBindings(namespace)
	if _, err := bindings.Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// bindCluster binds the account to a role that we ship, in the cluster.
func (a account) bindCluster(t testing.TB, role string) {
	t.Helper()
	shipRole(t, role)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: a.name + "-"}, Subjects: a.subjects(),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	bindings := clientset(t).RbacV1().ClusterRoleBindings()
	if _, err := bindings.Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// grant lets the account do these verbs with one resource of ours.
func (a account) grant(t testing.TB, namespace, resource string, verbs ...string) {
	t.Helper()
	roles := clientset(t).RbacV1()
	role, err := roles.Roles(namespace).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{GenerateName: a.name + "-"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"rtp.nagi.dev"}, Resources: []string{resource}, Verbs: verbs},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := roles.RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name}, Subjects: a.subjects(),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// config is the folder of what we ship.
const config = "../../../config"

// shipRole makes one of the roles in config/rbac, as it is there.
func shipRole(t testing.TB, name string) {
	t.Helper()
	for _, file := range []string{"people/editor.yaml", "people/viewer.yaml", "shim/role.yaml"} {
		content, err := os.ReadFile(filepath.Join(config, "rbac", file))
		if err != nil {
			t.Fatal(err)
		}
		for document := range bytes.SplitSeq(content, []byte("---\n")) {
			var role rbacv1.ClusterRole
			if err := yaml.UnmarshalStrict(document, &role); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if role.Name != name {
				continue
			}
			_, err := clientset(t).RbacV1().ClusterRoles().Create(t.Context(), &role, metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}

			return
		}
	}
	t.Fatalf("config/rbac has no role %s", name)
}

// reviewing lets the shim ask for tokens, and have them reviewed by that API server.
func reviewing(api client.Client, moreAudiences ...string) option {
	return func(c *Config) {
		c.Client, c.AllowAnonymous = api, false
		c.Reviews = callers.New(callers.Config{
			API: api, Namespace: c.Namespace, Registerer: c.Registerer,
			Audiences: append([]string{callers.DefaultAudience}, moreAudiences...),
		})
	}
}

// demanding is a shim that asks for tokens and runs under the roles that we ship for
// it, and its log.
func demanding(t *testing.T, options ...option) (*shim, *logged) {
	t.Helper()
	own := newAccount(t, "nagi-system")
	own.bind(t, "default", "nagi-shim")
	own.bindCluster(t, "nagi-token-reviewer")
	log := &logged{}
	logging := func(c *Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) }
	s := newShim(t, 2, append([]option{reviewing(own.client(t)), logging}, options...)...)
	settled(t, "the shim's own rights", func() bool { return s.handler.Ready() == nil })

	return s, log
}

// settled waits until the API server goes by what it was told.
func settled(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// postAs is post with a header Authorization; empty: without.
func (s *shim) postAs(authorization, operation, body string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("x-sora-target", operation)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if token := signature(authorization); len(token) > 20 && bytes.Contains(content, []byte(token)) {
		s.t.Errorf("the answer has the token: %s", content)
	}

	return response.StatusCode, string(content)
}

// signature is the part of a token that makes it one.
func signature(token string) string { return token[strings.LastIndexByte(token, '.')+1:] }

// proveSecret looks for tokens where they must not be: in the log and in metrics.
func (s *shim) proveSecret(t *testing.T, log *logged, tokens ...string) {
	t.Helper()
	families, err := s.handler.config.Registerer.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := json.Marshal(families)
	if err != nil || !bytes.Contains(metrics, []byte("nagi_shim_reviews_total")) {
		t.Fatalf("metrics: %s %v", metrics, err)
	}
	for _, token := range tokens {
		if strings.Contains(log.String(), signature(token)) || bytes.Contains(metrics, []byte(signature(token))) {
			t.Errorf("a token got out: %s\n%s\n%s", token, log, metrics)
		}
	}
}

// resigned is a token of the API server's as it would have made it at another time: good
// for some seconds from now on, or until some seconds ago.
func resigned(t testing.TB, token string, seconds int64) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(apiServer(t).Environment.ControlPlane.APIServer.CertDir, "sa-signer.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	claims := claimsOf(t, token)
	end := time.Now().Unix() + seconds
	claims["exp"], claims["iat"], claims["nbf"] = end, end-7200, end-7200
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		t.Fatal(err)
	}
	// The two numbers, one after the other (RFC 7518 section 3.4).
	signatureBytes := make([]byte, 64)
	r.FillBytes(signatureBytes[:32])
	s.FillBytes(signatureBytes[32:])

	return signed + "." + base64.RawURLEncoding.EncodeToString(signatureBytes)
}

// claimsOf is what a token says (RFC 7519 section 4).
func claimsOf(t testing.TB, token string) map[string]any {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}

	return claims
}

// errRefused is what a way to the API server fails with.
var errRefused = errors.New("connection refused by the test's network")

// throughNowhere is an API server that a function stands in for.
func throughNowhere(t testing.TB, answer func(*http.Request) (*http.Response, error)) client.Client {
	way := func(r *http.Request, _ http.RoundTripper) (*http.Response, error) { return answer(r) }

	return through(t, &rest.Config{Host: "http://127.0.0.1:1"}, way)
}

// answering is a response of the API server, in JSON or in no words of its own.
func answering(r *http.Request, code int, content string) *http.Response {
	kind := "text/plain"
	if json.Valid([]byte(content)) {
		kind = "application/json"
	}

	return &http.Response{
		StatusCode: code, Header: http.Header{"Content-Type": {kind}}, Request: r,
		Body: io.NopCloser(strings.NewReader(content)),
	}
}
