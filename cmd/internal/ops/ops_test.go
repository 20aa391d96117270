package ops

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestIsLoopback(t *testing.T) {
	for address, right := range map[string]bool{
		"127.0.0.1:0": true, "127.8.9.1:7300": true, "[::1]:1": true, "localhost:7300": true, "[::ffff:127.0.0.1]:1": true,
		":7300":            false,
		"0.0.0.0:7300":     false,
		"[::]:7300":        false,
		"192.0.2.1:7300":   false,
		"example.com:7300": false,
		"127.0.0.1":        false,
	} {
		if got := IsLoopback(address); got != right {
			t.Errorf("IsLoopback(%q): %v", address, got)
		}
	}
}

func TestListenAnnouncesAndNamesTheRemedy(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out)
	listener, err := Listen(t.Context(), log, Metrics, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	address := listener.Addr().String()
	if want := "msg=listening what=metrics address=" + address; !strings.Contains(out.String(), want) {
		t.Errorf("logged %q, want %q", out.String(), want)
	}
	_, err = Listen(t.Context(), log, Metrics, address)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "--metrics-listen (port 0") {
		t.Errorf("listening twice: %v", err)
	}
}

func TestHandler(t *testing.T) {
	notReady, detail := errors.New("waiting for the cache"), error(nil)
	handler := Handler(NewRegistry(), func() error { return notReady }, func() error { return detail })
	get := func(path string) (int, string) {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))

		return recorder.Code, recorder.Body.String()
	}
	if code, text := get("/readyz"); code != http.StatusServiceUnavailable || text != "waiting for the cache\n" {
		t.Errorf("/readyz: %d %q", code, text)
	}
	notReady = nil
	if code, text := get("/readyz"); code != http.StatusOK || text != "ok\n" {
		t.Errorf("/readyz when ready: %d %q", code, text)
	}
	detail = errors.New("nobody writes status")
	if code, text := get("/readyz"); code != http.StatusOK || text != "ok\nnobody writes status\n" {
		t.Errorf("/readyz when ready but for a detail: %d %q", code, text)
	}
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
	if code, text := get("/metrics"); code != http.StatusOK || !strings.Contains(text, "go_goroutines") ||
		!strings.Contains(text, "process_open_fds") {
		t.Errorf("/metrics: %d without the collectors' metrics", code)
	}
}

func TestServeLetsRequestsInFlightFinish(t *testing.T) {
	listener, err := Listen(t.Context(), NewLogger(io.Discard), HTTP, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		end()
		_, _ = io.WriteString(w, "done")
	})}
	go func() { served <- Serve(ctx, server, listener) }()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || string(body) != "done" {
		t.Errorf("the request in flight got %q, %v", body, err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestRunEndsAtTheFirstErrorAndAtSignals(t *testing.T) {
	untilDone := func(ctx context.Context) error {
		<-ctx.Done()

		return nil
	}
	failure := errors.New("broken")
	if err := Run(t.Context(), untilDone, func(context.Context) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("Run with a failing function: %v", err)
	}
	signal := func(context.Context) error { return syscall.Kill(os.Getpid(), syscall.SIGTERM) }
	if err := Run(t.Context(), untilDone, signal); err != nil {
		t.Errorf("Run at SIGTERM: %v", err)
	}
}
