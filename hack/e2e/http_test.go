package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// post sends one request of Sora's HTTP API.
func post(t *testing.T, target, body string) (int, string) {
	t.Helper()
	header := http.Header{}
	if target != "" {
		header.Set("x-sora-target", target)
	}
	status, _, text := request(t, http.MethodPost, header, body)
	return status, text
}

func request(t *testing.T, method string, header http.Header, body string) (int, http.Header, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, running.shimURL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

// mustPost fails the test unless the answer is 200 with the request's echo.
func mustPost(t *testing.T, target, body string) {
	t.Helper()
	if status, text := post(t, target, body); status != http.StatusOK || text != body {
		t.Fatalf("%s %s: %d %s, want 200 and the same", target, body, status, text)
	}
}

// edgeBody is the body of a pause or resume, in the form that is echoed.
func edgeBody(channel string, receiver, sender *member) string {
	return body(field{"channel_id", channel}, field{"recv_connection_id", receiver.ConnectionID()}, field{"send_connection_id", sender.ConnectionID()})
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
