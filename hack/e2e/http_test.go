package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// post sends one request of Sora's HTTP API to the shared system's first shim.
func post(t *testing.T, target, body string) (int, string) {
	t.Helper()

	return running.shims[0].post(t, target, body)
}

// post sends one request of Sora's HTTP API.
func (p *shim) post(t *testing.T, target, body string) (int, string) {
	t.Helper()

	return p.postAs(t, "", target, body)
}

// postAs is post with a token; empty: without.
func (p *shim) postAs(t *testing.T, token, target, body string) (int, string) {
	t.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	if target != "" {
		header.Set("X-Sora-Target", target)
	}
	status, _, text := request(t, http.MethodPost, p.url, header, body)

	return status, text
}

func request(t *testing.T, method, url string, header http.Header, body string) (int, http.Header, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	status, answered, text, err := ask(ctx, method, url, header, body)
	if err != nil {
		t.Fatal(err)
	}

	return status, answered, text
}

// ask sends one request.
func ask(ctx context.Context, method, url string, header http.Header, body string) (int, http.Header, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	r.Header = header

	return send(http.DefaultClient, r)
}

// get gets one page.
func get(ctx context.Context, asking *http.Client, url string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	status, _, text, err := send(asking, r)

	return status, text, err
}

func send(asking *http.Client, r *http.Request) (int, http.Header, string, error) {
	response, err := asking.Do(r)
	if err != nil {
		return 0, nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)

	return response.StatusCode, response.Header, string(text), err
}

// mustPost fails the test unless the shared system's first shim answers 200 with
// the request's echo.
func mustPost(t *testing.T, target, body string) {
	t.Helper()
	running.shims[0].mustPost(t, target, body)
}

func (p *shim) mustPost(t *testing.T, target, body string) {
	t.Helper()
	if status, text := p.post(t, target, body); status != http.StatusOK || text != body {
		t.Fatalf("%s %s: %d %s, want 200 and the same", target, body, status, text)
	}
}

// mustRefuse fails the test unless the answer is that status with that error_type
// or type, and returns the whole answer.
func (p *shim) mustRefuse(t *testing.T, target, body string, status int, errorType string) string {
	t.Helper()
	got, text := p.post(t, target, body)
	if failure := failureIn(t, text); got != status || failure != errorType {
		t.Errorf("%s %s: %d %s, want %d %s", target, body, got, text, status, errorType)
	}

	return text
}

// failureIn is the type or error_type that an answer names.
func failureIn(t *testing.T, text string) string {
	t.Helper()
	var failure struct {
		Type      string `json:"type"`
		ErrorType string `json:"error_type"`
	}
	if err := json.Unmarshal([]byte(text), &failure); err != nil {
		return "no failure"
	}

	return failure.Type + failure.ErrorType
}

// edgeBody is the body of a pause or resume, in the form that is echoed.
func edgeBody(channel string, receiver, sender *member) string {
	return body(field{"channel_id", channel}, field{"recv_connection_id", receiver.ConnectionID()},
		field{"send_connection_id", sender.ConnectionID()})
}

type field [2]string

func body(fields ...field) string {
	pairs := make([]string, len(fields))
	for i, f := range fields {
		name, _ := json.Marshal(f[0])
		value, _ := json.Marshal(f[1])
		pairs[i] = string(name) + ":" + string(value)
	}

	return "{" + strings.Join(pairs, ",") + "}"
}

const (
	pauseTarget       = "Sora_20200401.PauseRtpStream"
	resumeTarget      = "Sora_20200401.ResumeRtpStream"
	listTarget        = "Sora_20200401.ListPauseRtpStreams"
	connectionsTarget = "Sora_20201013.ListChannelConnections"
)
