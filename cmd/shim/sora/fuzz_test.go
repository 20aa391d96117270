package sora

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nagi-rtc/nagi/api/forwarding/managers"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
)

// FuzzRequest: whatever arrives gets a documented status and a JSON body, and
// nothing panics. No manager and no API server are behind it, so that an
// operation that runs ends with 503.
func FuzzRequest(f *testing.F) {
	f.Add("POST", pauseTarget, []byte(edgeBody("sora", alice, bob)))
	f.Add("POST", resumeTarget, []byte(edgeBody("sora", alice, alice)))
	f.Add("POST", pauseTarget, []byte(`{"channel_id":"sora","recv_client_id":"a","send_connection_id":"b"}`))
	f.Add("POST", disconnectClientTarget, []byte(`{"channel_id":"sora","client_id":"a","reason":{"x":[null]}}`))
	f.Add("POST", whoTarget, []byte("\xef\xbb\xbf{}"))
	f.Add("POST", listTarget, []byte(channelBody("sora")))
	f.Add("POST", whoTarget, []byte(`{"channel_id":"\ud83d\ude00","x":[1e999999,{"a":null}]}`))
	f.Add("POST", whoTarget, []byte(`{"channel_id":"\ud800"}`))
	f.Add("POST", whoTarget, []byte(`{"channel_id":"a","channel_id":"b"}`))
	f.Add("POST", whoTarget, []byte("{\"channel_id\":\"\xff\\u0000\"}"))
	f.Add("POST", whoTarget, []byte("{\"\\ud800"))
	f.Add("POST", whoTarget, []byte(`"\u`))
	f.Add("POST", "Sora_20200401\x00Pause", []byte(strings.Repeat("[", 20_000)))
	f.Add("GET", "", []byte{})
	f.Add("OPTIONS", "Sora", []byte("null"))

	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	replicas, err := live.NewReplicas([]string{"127.0.0.1:1"}, "default", managers.Credentials{}, log) // never dialled
	if err != nil {
		f.Fatal(err)
	}
	handler, err := New(Config{
		Namespace:      "default",
		Client:         unreachable(f),
		Replicas:       replicas,
		AllowAnonymous: true,
		Log:            log,
		Registerer:     prometheus.NewRegistry(),
	})
	if err != nil {
		f.Fatal(err)
	}
	documented := map[int]bool{
		http.StatusOK:                    true,
		http.StatusBadRequest:            true,
		http.StatusRequestEntityTooLarge: true,
		http.StatusServiceUnavailable:    true,
	}
	f.Fuzz(func(t *testing.T, method, header string, body []byte) {
		request := &http.Request{
			Method: method, URL: &url.URL{Path: "/"}, Header: http.Header{"X-Sora-Target": {header}},
			Body: io.NopCloser(strings.NewReader(string(body))), ContentLength: -1,
		}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request.WithContext(t.Context()))
		if !documented[recorder.Code] || !json.Valid(recorder.Body.Bytes()) {
			t.Errorf("%d %q", recorder.Code, recorder.Body)
		}
	})
}
