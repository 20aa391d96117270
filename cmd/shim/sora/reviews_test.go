package sora

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// TestReviewsUnanswered: what keeps the API server from reviewing is no refusal of the
// caller, takes no longer than it may, and none of its words reach the client.
func TestReviewsUnanswered(t *testing.T) {
	secret := "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl"
	const away, hangs = -1, -2
	tokens, rights := "/tokenreviews", "/localsubjectaccessreviews"
	for name, test := range map[string]struct {
		of         string
		code       int // What the API server answers, away or hangs.
		words      string
		wantStatus int
		want       string
	}{
		"away":            {tokens, away, "", 503, "the API server cannot be reached; repeat the request"},
		"hangs":           {tokens, hangs, "", 503, "the API server did not answer in 5s"},
		"fails":           {tokens, 500, "secret words about " + secret, 503, "the API server failed; repeat the request"},
		"too much":        {tokens, 429, "secret words", 503, "the API server has too much to do; repeat the request"},
		"knows no tokens": {tokens, 404, "secret words", 503, "the API server does not review tokens and rights"},
		"policy": {
			tokens, 422, "secret words of " + secret, 503, "the API server does not review tokens and rights",
		},
		"unknown shim":  {tokens, 401, "secret words", 403, "the API server does not accept the shim's credentials"},
		"forbidden":     {tokens, 403, "secret words", 403, "the shim's ServiceAccount may not have tokens and rights"},
		"garbage":       {tokens, 200, "secret words", 503, "the API server"},
		"rights: away":  {rights, away, "", 503, "the API server cannot be reached; repeat the request"},
		"rights: hangs": {rights, hangs, "", 503, "the API server did not answer in 5s"},
		"rights: unsure": {rights, 201, `{"status":{"allowed":false,"evaluationError":"secret words"}}`,
			503, "an authorizer of the API server's does not answer"},
		"rights: fails": {rights, 500, "secret words", 503, "the API server failed; repeat the request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accepted, err := json.Marshal(authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{
				Authenticated: true, User: authenticationv1.UserInfo{Username: "alice"}, Audiences: []string{"nagi"},
			}})
			if err != nil {
				t.Fatal(err)
			}
			log := &logged{}
			s := newShim(t, 1, reviewing(throughNowhere(t, func(r *http.Request) (*http.Response, error) {
				switch {
				case strings.HasSuffix(r.URL.Path, test.of) && test.code == hangs:
					<-r.Context().Done()

					return nil, r.Context().Err()
				case strings.HasSuffix(r.URL.Path, test.of) && test.code != away:
					return answering(r, test.code, test.words), nil
				case !strings.HasSuffix(r.URL.Path, test.of) && strings.HasSuffix(r.URL.Path, tokens):
					return answering(r, http.StatusCreated, string(accepted)), nil
				}

				return nil, errRefused
			})), func(c *Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) })
			status, got := s.postAs("Bearer "+secret, pauseTarget, edgeBody("c", alice, bob))
			if status != test.wantStatus || !strings.Contains(got, test.want) || strings.Contains(got, "secret") {
				t.Errorf("%d %s", status, got)
			}
			s.proveSecret(t, log, secret)
		})
	}
}

// TestLackingReviews: a shim that may not have tokens or rights reviewed is not ready,
// and says to its callers, too, what it lacks.
func TestLackingReviews(t *testing.T) {
	const (
		token = "to create tokenreviews.authentication.k8s.io in the cluster: " +
			"bind it to the role nagi-token-reviewer by a ClusterRoleBinding"
		right = "to create localsubjectaccessreviews.authorization.k8s.io in the namespace default: " +
			"bind it to the role nagi-shim"
	)
	editor := newAccount(t, createNamespace(t))
	editor.bind(t, "default", "nagi-editor")
	for name, test := range map[string]struct {
		role func(*account)
		want string
	}{
		"no right at all": {func(*account) {}, token + "; " + right},
		"rights alone":    {func(a *account) { a.bind(t, "default", "nagi-shim") }, token},
		"tokens alone":    {func(a *account) { a.bindCluster(t, "nagi-token-reviewer") }, right},
	} {
		own := newAccount(t, "nagi-system")
		test.role(&own)
		s := newShim(t, 1, reviewing(own.client(t)))
		err := s.handler.Ready()
		if err == nil || !strings.Contains(err.Error(), test.want) ||
			strings.Contains(err.Error(), token) != strings.Contains(test.want, token) {
			t.Errorf("%s: ready: %v", name, err)
		}
		status, got := s.postAs("Bearer "+editor.token(t, "nagi"), listTarget, channelBody("c"))
		lacks := "the shim's ServiceAccount lacks the right " + test.want
		if status != http.StatusForbidden || !strings.Contains(got, lacks) {
			t.Errorf("%s: %d %s", name, status, got)
		}
	}
}
