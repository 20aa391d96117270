package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nagi-rtc/nagi/cmd/nagi/controlplane"
)

// TestFlags: what is wrong is named with its flag.
func TestFlags(t *testing.T) {
	for arguments, want := range map[string]string{
		"":                             "",
		"--namespace=meetings":         "",
		"--namespace=":                 "--namespace",
		"--pause-timeout=0s":           "--pause-timeout",
		"--cors-origin=http://a/":      "--cors-origin",
		"--cors-origin=http://a serve": "serve",
		"--cors-origin=":               "",
		"--cors-origin=http://a,":      "--cors-origin",
		"--cors-origin=http://a,http://b --cors-origin=http://c": "",
		"--managers=[::1]:1,localhost:2 --listen=:80":            "",
		"--managers=a:1,b:2":                         "--manager-ca",
		"--token-file=/nowhere":                      "--manager-ca",
		"--max-connections=0":                        "--max-connections=0",
		"--max-connections-per-address=0":            "--max-connections-per-address=0",
		"--audience=nagi,":                           "--audience",
		"--audience=":                                "",
		"--audience= --listen=:80":                   "such as --audience=nagi, or let everybody in with --allow-anonymous",
		"--audience= --listen=:80 --allow-anonymous": "",
		"--audience= --allow-anonymous=false":        "nobody is served at --listen=127.0.0.1:3000",
	} {
		_, err := parse(strings.Fields(arguments))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", arguments, err, want)
		}
	}
}

// TestWhoIsAskedForATokenByDefault: nobody on loopback, everybody elsewhere.
func TestWhoIsAskedForATokenByDefault(t *testing.T) {
	for arguments, want := range map[string]bool{
		"":                               true,
		"--listen=[::1]:0":               true,
		"--listen=localhost:3000":        true,
		"--listen=:3000":                 false,
		"--listen=0.0.0.0:3000":          false,
		"--listen=192.0.2.7:3000":        false,
		"--listen=shim.example.org:3000": false,
		"--listen=0.0.0.0:3000 --allow-anonymous":  true,
		"--allow-anonymous=false":                  false,
		"--listen=[::1]:0 --allow-anonymous=false": false,
	} {
		if o, err := parse(strings.Fields(arguments)); err != nil || o.allowAnonymous != want {
			t.Errorf("%q: %v, %v", arguments, o.allowAnonymous, err)
		}
	}
}

// TestExitStatus: a line that tells the mend, and 2 for flags, 1 for what they lead to.
func TestExitStatus(t *testing.T) {
	for arguments, want := range map[string]struct {
		status int
		words  string
	}{
		"--listen=0.0.0.0:0 --audience=": {2, "let everybody in with --allow-anonymous"},
		"--no-such-flag":                 {2, "unknown flag"},
		"--kubeconfig=/nowhere":          {1, "give a kubeconfig with --kubeconfig"},
	} {
		log := &written{}
		status := start(t.Context(), strings.Fields(arguments), slog.New(slog.NewTextHandler(log, nil)))
		told := strings.Contains(log.String(), want.words) && strings.Count(log.String(), "\n") == 1
		if status != want.status || !told {
			t.Errorf("%s: %d %s", arguments, status, log)
		}
	}
}

// written is what a shim logs.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.text.String()
}

// await waits until the log has what the expression finds, and returns its group.
func (w *written) await(t *testing.T, expression string) string {
	t.Helper()
	searched := regexp.MustCompile(expression)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if found := searched.FindStringSubmatch(w.String()); found != nil {
			return found[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("never logged %s:\n%s", expression, w)
		}
	}
}

// TestStart: a shim that other machines reach asks for tokens, says what it lacks for
// that, and warns where it is told to do without.
func TestStart(t *testing.T) {
	ctrl.SetLogger(logr.Discard()) // envtest's.
	plane, err := controlplane.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	powerless, err := plane.Environment.AddUser(envtest.User{Name: "powerless"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	content, err := powerless.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	without := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(without, content, 0o600); err != nil {
		t.Fatal(err)
	}

	const reviewers = "tokenreviews.authentication.k8s.io in the cluster: " +
		"bind it to the role nagi-token-reviewer by a ClusterRoleBinding"
	for arguments, test := range map[string]struct {
		status   int
		warns    bool
		reviewer bool // Whether readiness asks for the rights of reviews.
	}{
		"--listen=0.0.0.0:0":                         {http.StatusUnauthorized, false, true},
		"--listen=0.0.0.0:0 --allow-anonymous":       {http.StatusBadRequest, true, false},
		"--listen=127.0.0.1:0":                       {http.StatusBadRequest, false, false},
		"--listen=127.0.0.1:0 --allow-anonymous":     {http.StatusBadRequest, true, false},
		"--listen=127.0.0.1:0 --allow-anonymous=0":   {http.StatusUnauthorized, false, true},
		"--listen=127.0.0.1:0 --audience=":           {http.StatusBadRequest, false, false},
		"--listen=0.0.0.0:0 --audience=nagi,another": {http.StatusUnauthorized, false, true},
	} {
		t.Run(arguments, func(t *testing.T) {
			flags := append(strings.Fields(arguments),
				"--kubeconfig="+without, "--managers=127.0.0.1:1", "--metrics-listen=127.0.0.1:0",
				"--max-connections-per-address=1")
			ctx, cancel := context.WithCancel(t.Context())
			log, ended := &written{}, make(chan int, 1)
			go func() { ended <- start(ctx, flags, slog.New(slog.NewTextHandler(log, nil))) }()
			defer func() {
				cancel()
				if status := <-ended; status != 0 {
					t.Errorf("ended with %d: %s", status, log)
				}
			}()
			// On every address it is [::]:PORT, in quotes.
			address := strings.Trim(log.await(t, `what=http address=(\S+)`), `"`)
			port := address[strings.LastIndex(address, ":")+1:]
			// No body: what comes after the token is refused for that.
			status, text := ask(t, http.MethodPost, "http://127.0.0.1:"+port)
			if status != test.status {
				t.Errorf("without a token: %d %s", status, text)
			}
			if !cuts(t, port) {
				t.Error("connections beyond --max-connections-per-address stay")
			}
			status, text = ask(t, http.MethodGet, "http://"+log.await(t, `what=metrics address=(\S+)`)+"/readyz")
			if status != http.StatusServiceUnavailable || strings.Contains(text, reviewers) != test.reviewer {
				t.Errorf("/readyz: %d %s", status, text)
			}
			if warns := strings.Contains(log.String(), `level=WARN msg="--allow-anonymous: `); warns != test.warns {
				t.Errorf("warns: %v\n%s", warns, log)
			}
		})
	}
}

// cuts tells whether the server cuts one of some connections that say nothing.
func cuts(t *testing.T, port string) bool {
	t.Helper()
	// The first may meet the end of the connection before it.
	var silent []net.Conn
	for range 3 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		silent = append(silent, conn)
	}
	ended := make(chan error, len(silent))
	for _, conn := range silent {
		go func() {
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, err := conn.Read(make([]byte, 1))
			ended <- err
		}()
	}

	return !errors.Is(<-ended, os.ErrDeadlineExceeded)
}

func ask(t *testing.T, method, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	request.Header.Set("x-sora-target", "Sora_20200401.ListPauseRtpStreams")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w", method, url, err))
	}

	return response.StatusCode, string(text)
}
