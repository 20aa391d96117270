package page

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, handler http.Handler, method, target, etag string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)

	return recorder
}

func TestHandler(t *testing.T) {
	handler, err := Handler(Config{ShimURL: "http://127.0.0.1:3000"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, path string
		status       int
		contentType  string
		contains     string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8", `id="tiles"`},
		{"GET", "/?channel=x&autojoin=1", 200, "text/html; charset=utf-8", "<!doctype html>"},
		{"HEAD", "/", 200, "text/html; charset=utf-8", ""},
		{"GET", "/main.js", 200, "text/javascript; charset=utf-8", "signaling.js"},
		{"GET", "/page.css", 200, "text/css; charset=utf-8", ":root"},
		{"GET", "/icon.svg", 200, "image/svg+xml", "<svg"},
		{"GET", "/config.json", 200, "application/json", `{"shim_url":"http://127.0.0.1:3000"}`},
		{"GET", "/static/main.js", 404, "text/plain; charset=utf-8", ""},
		{"GET", "/../page.go", 404, "text/plain; charset=utf-8", ""},
		{"POST", "/", 405, "text/plain; charset=utf-8", ""},
	} {
		response := get(t, handler, test.method, test.path, "")
		if response.Code != test.status || response.Header().Get("Content-Type") != test.contentType ||
			!strings.Contains(response.Body.String(), test.contains) {
			t.Errorf("%s %s: %d %s", test.method, test.path, response.Code, response.Header().Get("Content-Type"))
		}
		if test.status != http.StatusOK {
			continue
		}
		policy := response.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "connect-src 'self' ws: wss: http://127.0.0.1:3000;") ||
			strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", test.path, policy)
		}
		if again := get(t, handler, "GET", test.path, response.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s: asked again with its ETag: %d", test.path, again.Code)
		}
	}
}

func TestHandlerRefusesShimURL(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:3000", "/shim", "ftp://x", "http://", "http://a b", "http://[::1"} {
		if _, err := Handler(Config{ShimURL: bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// The policy holds nothing that the URL smuggles in.
func TestPolicyIsOneURL(t *testing.T) {
	for shim, want := range map[string]string{
		"https://shim.example/":     "wss: https://shim.example; base-uri",
		"http://x;script-src/":      "wss: http://x%3Bscript-src; base-uri",
		"http://[::1]:3000":         "wss: http:; base-uri",
		"http://user:pw@x.example/": "wss: http://x.example; base-uri",
	} {
		handler, err := Handler(Config{ShimURL: shim})
		if err != nil {
			t.Errorf("%s: %v", shim, err)

			continue
		}
		if policy := get(t, handler, "GET", "/", "").Header().Get("Content-Security-Policy"); !strings.Contains(policy,
			want) {
			t.Errorf("%s gives policy %q, want %q in it", shim, policy, want)
		}
	}
}
