package main

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/cmd/internal/ops"
)

// Beyond loopback somebody has to say who may be a client, and one alone.
func TestWhoMayBeAClientIsSaid(t *testing.T) {
	const open, webhook, tokens, anonymous = "--listen=0.0.0.0:5000", "--auth-webhook-url=https://x/",
		"--auth-jwks-file=keys", "--allow-anonymous-clients"
	for arguments, want := range map[string]string{
		open:                                      "listen on loopback",
		open + " --listen=192.0.2.1:1":            "listen on loopback",
		open + " --listen=media.example:5000":     "listen on loopback",
		open + " " + webhook:                      "",
		open + " " + tokens:                       "",
		open + " " + tokens + " --auth-issuer=x":  "",
		open + " " + anonymous:                    "",
		open + " " + anonymous + "=false":         "lets nobody in",
		anonymous + "=false":                      "lets nobody in",
		tokens + " " + anonymous + "=false":       "",
		"--auth-webhook-url=":                     "--auth-webhook-url is empty",
		"--auth-jwks-file=":                       "--auth-jwks-file is empty",
		"--auth-jwks-file= " + webhook:            "--auth-jwks-file is empty",
		"--auth-jwks-file= " + anonymous:          "--auth-jwks-file is empty",
		webhook + " " + tokens:                    "exclude each other",
		webhook + " " + anonymous:                 "exclude each other",
		tokens + " " + anonymous:                  "exclude each other",
		webhook + " --auth-audience=x":            "--auth-jwks-file",
		"--listen=127.0.0.2:0 " + webhook:         "",
		"--auth-webhook-url=127.0.0.1:8080":       "https://app.example/sora/auth",
		"--listen=127.0.0.1:0 " + anonymous:       "",
		"--listen=127.0.0.1:0 --auth-issuer=nagi": "--auth-jwks-file",
	} {
		_, err := parse(strings.Fields(arguments))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want one with %q", arguments, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the error has more than one line: %q", arguments, err)
		}
	}
}

// What an authority needs is looked at when the media server starts; letting everybody in
// is warned of at every start, and loopback alone is not.
func TestAuthorityIsMadeAtTheStart(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(keys, []byte(`{"keys":[{"kty":"oct","k":"`+strings.Repeat("a", 43)+`"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for argument, test := range map[string]struct {
		made        bool
		fails, logs string
	}{
		"--listen=127.0.0.1:0":                   {false, "", ""},
		"--allow-anonymous-clients":              {false, "", "level=WARN"},
		"--auth-webhook-url=http://127.0.0.1:1/": {true, "", ""},
		"--auth-jwks-file=" + keys:               {true, "", ""},
		"--auth-jwks-file=" + keys + ".none":     {false, "--auth-jwks-file: ", ""},
	} {
		o, err := parse([]string{argument})
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		authority, end, err := o.auth.authority("sfu-0", prometheus.NewRegistry(), logger)
		if (err != nil) != (test.fails != "") || err != nil && !strings.HasPrefix(err.Error(), test.fails) {
			t.Errorf("%s: error %v, want %q", argument, err, test.fails)
		}
		if (authority != nil) != test.made || !strings.Contains(log.String(), test.logs) ||
			test.logs == "" && log.Len() > 0 {
			t.Errorf("%s: made %v, logged %q", argument, authority, log.String())
		}
		if end != nil {
			end()
		}
	}
}

// A media server that asks an authority takes it along when it ends; who is refused is told why.
func TestClientsAreRefusedByTheProgram(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(keys, []byte(`{"keys":[{"kty":"oct","k":"`+strings.Repeat("a", 43)+`"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, argument := range []string{"--auth-jwks-file=" + keys, "--auth-webhook-url=http://127.0.0.1:1/"} {
		s := start(t, &manager{}, argument)
		_, _, err := s.join(t).Read(t.Context())
		want := "AUTHENTICATION-FAILURE"
		if strings.Contains(argument, "webhook") {
			want = "AUTHENTICATION-INTERNAL-ERROR"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", argument, err, want)
		}
		s.end()
		if err := receive(t, s.ended); err != nil {
			t.Errorf("the graceful end: %v", err)
		}
	}
}

// Strangers are not listened to for long.
func TestHeadersAreShort(t *testing.T) {
	s := start(t, &manager{})
	get := func(header string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.at[ops.Signaling]+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X", header)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()

		return response.StatusCode
	}
	if status := get(strings.Repeat("x", maxHeaderBytes/2)); status != http.StatusOK {
		t.Errorf("a header of 8 KiB gets %d", status)
	}
	if status := get(strings.Repeat("x", 2*maxHeaderBytes)); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 32 KiB gets %d", status)
	}
	s.end()
	if err := receive(t, s.ended); err != nil {
		t.Errorf("the graceful end: %v", err)
	}
}

// Who begins a request and does not end it, or does not take its answer, does not stay.
func TestRequestsEnd(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = w.Write(make([]byte, 64<<20)) // More than a connection takes that nobody reads from.
		}
	})
	server := newHTTPServer(page, 50*time.Millisecond)
	ended := make(chan struct{}, 2)
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			ended <- struct{}{}
		}
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	for _, request := range []string{
		"POST /signaling HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Errorf("%.4s stays", request)
		}
	}
}
