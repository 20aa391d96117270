package auth

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// secret is in every request, and must be nowhere else.
const secret = "s3cret-of-the-client"

// asked is what a client asks for.
func asked() Request {
	return Request{
		Role: "sendrecv", ChannelID: "sora", ClientID: "mallory", BundleID: "ID", ConnectionID: "ID",
		Metadata: json.RawMessage(`{"access_token":"` + secret + `"}`),
		Audio:    true, AudioCodecType: "OPUS", Video: true, VideoCodecType: "VP9", VideoBitRate: 500,
		Multistream: true, Connections: 3, SendrecvConnections: 1, SendonlyConnections: 1, RecvonlyConnections: 1,
		SoraClient: SoraClient{Raw: "Sora JavaScript SDK"},
	}
}

// webhook asks a server that is served by a handler.
func webhook(t *testing.T, config WebhookConfig, handler http.HandlerFunc) *Webhook {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	if config.URL == "" {
		config.URL = server.URL
	}
	w, err := NewWebhook(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)

	return w
}

// TestWebhookAsksAsSoraDoes: the whole request, as a web server gets it.
func TestWebhookAsksAsSoraDoes(t *testing.T) {
	type got struct {
		method, path, kind, connectionID string
		body                             map[string]any
	}
	requests := make(chan got, 1)
	w := webhook(t, WebhookConfig{NodeName: "mediaserver-0"}, func(w http.ResponseWriter, r *http.Request) {
		g := got{r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("sora-connection-id"), nil}
		if err := json.NewDecoder(r.Body).Decode(&g.body); err != nil {
			t.Error(err)
		}
		requests <- g
		_, _ = io.WriteString(w,
			`{"allowed":true,"client_id":"alice","metadata":{"a":1},"bundle_id":null,"reason":"none"}`)
	})
	before := time.Now().Truncate(time.Microsecond)
	answer, err := w.Decide(t.Context(), asked())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Answer{"client_id": []byte(`"alice"`), "metadata": []byte(`{"a":1}`)}, answer); diff != "" {
		t.Errorf("the answer (-want +got):\n%s", diff)
	}

	r := <-requests
	if r.method != http.MethodPost || r.kind != "application/json" || r.connectionID != "ID" {
		t.Errorf("asked by %s, %q, sora-connection-id %q", r.method, r.kind, r.connectionID)
	}
	stamp, _ := r.body["timestamp"].(string)
	if at, err := time.Parse(time.RFC3339Nano, stamp); err != nil || at.Before(before) || !strings.HasSuffix(stamp, "Z") {
		t.Errorf("timestamp %q: %v", stamp, err)
	}
	delete(r.body, "timestamp")
	want := map[string]any{
		"node_name": "mediaserver-0", "role": "sendrecv", "channel_id": "sora", "client_id": "mallory", "bundle_id": "ID",
		"connection_id": "ID", "metadata": map[string]any{"access_token": secret},
		"audio": true, "audio_codec_type": "OPUS", "video": true, "video_codec_type": "VP9", "video_bit_rate": 500.,
		"multistream": true, "simulcast": false, "spotlight": false,
		"data_channel_signaling": false, "ignore_disconnect_websocket": false,
		"channel_connections": 3., "channel_sendrecv_connections": 1., "channel_sendonly_connections": 1.,
		"channel_recvonly_connections": 1., "sora_client": map[string]any{"raw": "Sora JavaScript SDK"},
	}
	if diff := cmp.Diff(want, r.body); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// expectError checks who says no, and why, and that the client's secret is not in it.
func expectError(t *testing.T, err error, refused bool, reason, cause string) {
	t.Helper()
	var refusal *Refusal
	var failure *Failure
	switch {
	case err == nil:
		t.Error("the client is allowed")

		return
	case refused && (!errors.As(err, &refusal) || refusal.Reason != reason):
		t.Errorf("%#v, want a refusal with reason %q", err, reason)
	case !refused && (!errors.As(err, &failure) || failure.Cause != cause):
		t.Errorf("%#v, want a failure by %s", err, cause)
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the error tells the client's secret: %v", err)
	}
}

func TestWebhookAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		status        int
		body          string
		refused       bool
		reason, cause string
	}{
		"no":                    {200, `{"allowed":false}`, true, "", ""},
		"no, and why":           {200, ` {"reason":"CONNECTION-LIMIT","allowed":false} `, true, "CONNECTION-LIMIT", ""},
		"a reason of any type":  {200, `{"allowed":false,"reason":{"a":1}}`, true, "", ""},
		"no, by status":         {403, `{"allowed":true}`, false, "", CauseStatus},
		"a fault of the server": {500, `{"allowed":true,"x":"` + secret + `"}`, false, "", CauseStatus},
		"elsewhere":             {307, `{"allowed":true}`, false, "", CauseStatus},
		"nothing":               {200, ``, false, "", CauseAnswer},
		"null":                  {200, `null`, false, "", CauseAnswer},
		"a list":                {200, `[{"allowed":true}]`, false, "", CauseAnswer},
		"nonsense":              {200, `yes ` + secret, false, "", CauseAnswer},
		"more than one":         {200, `{"allowed":true}{"allowed":false}`, false, "", CauseAnswer},
		"no verdict":            {200, `{"client_id":"` + secret + `"}`, false, "", CauseAnswer},
		"a verdict of null":     {200, `{"allowed":null}`, false, "", CauseAnswer},
		"a verdict in words":    {200, `{"allowed":"true"}`, false, "", CauseAnswer},
		"a verdict in numbers":  {200, `{"allowed":1}`, false, "", CauseAnswer},
		"keys are exact":        {200, `{"Allowed":true}`, false, "", CauseAnswer},
		"no UTF-8":              {200, "{\"allowed\":true,\"client_id\":\"\xff\"}", false, "", CauseAnswer},
		"too long":              {200, `{"allowed":true}` + strings.Repeat(" ", maxAnswer), false, "", CauseAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			w := webhook(t, WebhookConfig{}, func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.URL.Path)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			_, err := w.Decide(t.Context(), Request{Metadata: json.RawMessage(`"` + secret + `"`)})
			expectError(t, err, test.refused, test.reason, test.cause)
			if len(asked) != 1 {
				t.Errorf("asked for %q", asked)
			}
		})
	}
	w := webhook(t, WebhookConfig{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"allowed":true}`)
	})
	if _, err := w.Decide(t.Context(), Request{}); err != nil {
		t.Errorf("status 201: %v", err)
	}
}

// A server that hangs, before the answer or within it, costs a client the time-out.
func TestWebhookThatHangsRefuses(t *testing.T) {
	for name, begin := range map[string]string{"before": "", "within": `{"allowed":`} {
		t.Run(name, func(t *testing.T) {
			w := webhook(t, WebhookConfig{Timeout: 50 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
				if begin != "" {
					_, _ = io.WriteString(w, begin)
					w.(http.Flusher).Flush()
				}
				_, _ = io.Copy(io.Discard, r.Body) // Only then the server notices that the other side goes.
				<-r.Context().Done()
			})
			_, err := w.Decide(t.Context(), asked())
			expectError(t, err, false, "", CauseTimeout)
		})
	}
}

// Webhooks under way are bounded; who waits too long for its turn is refused, and a place
// that is free again is taken.
func TestWebhooksAreBounded(t *testing.T) {
	config := WebhookConfig{Timeout: 50 * time.Millisecond, MaxInFlight: 1}
	w := webhook(t, config, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"allowed":true}`)
	})
	leave := w.places.Take(t.Context(), asked().From)
	_, err := w.Decide(t.Context(), asked())
	expectError(t, err, false, "", CauseBusy)
	leave()
	w.timeout = time.Minute
	for range 3 {
		if _, err := w.Decide(t.Context(), asked()); err != nil {
			t.Errorf("a place is free: %v", err)
		}
	}
}

// A client that goes takes its webhook along.
func TestWebhookOfAClientThatGoesEnds(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan struct{})
	w := webhook(t, WebhookConfig{Timeout: time.Minute}, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		leave()
		<-r.Context().Done()
		close(gone)
	})
	_, err := w.Decide(ctx, asked())
	var refusal *Refusal
	var failure *Failure
	if !errors.Is(err, context.Canceled) || errors.As(err, &refusal) || errors.As(err, &failure) {
		t.Errorf("%v: nobody has decided", err)
	}
	<-gone
}

// Neither a URL that is wrong nor one that nobody serves is told: it may hold a password.
func TestWebhookURLIsNotTold(t *testing.T) {
	const password = "s3cret-of-the-url"
	for _, address := range []string{
		"", "app.example/auth", "ftp://u:" + password + "@app.example", "http://", "https:///auth?key=" + password,
		"http://u:" + password + "@app.example:port", "http://u:" + password + "@%zz",
	} {
		_, err := NewWebhook(WebhookConfig{URL: address})
		if err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("%q: error %v", address, err)
		}
	}
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	w := webhook(t, WebhookConfig{URL: "http://u:" + password + "@" + host + "/?key=" + password}, http.NotFound)
	_, err := w.Decide(t.Context(), asked())
	expectError(t, err, false, "", CauseUnreachable)
	if strings.Contains(err.Error(), password) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the error is %v", err)
	}
}

// A name and password in the URL are basic authentication.
func TestWebhookAuthenticatesItself(t *testing.T) {
	var name, password string
	w := webhook(t, WebhookConfig{}, func(w http.ResponseWriter, r *http.Request) {
		name, password, _ = r.BasicAuth()
		_, _ = io.WriteString(w, `{"allowed":true}`)
	})
	w.url = strings.Replace(w.url, "http://", "http://sora:pass@", 1)
	if _, err := w.Decide(t.Context(), asked()); err != nil || name != "sora" || password != "pass" {
		t.Errorf("%q, %q, %v", name, password, err)
	}
}

// decided is an Authority that has decided.
type decided struct{ err error }

func (d decided) Decide(context.Context, Request) (Answer, error) { return Answer{}, d.err }

func TestDecisionsAreCounted(t *testing.T) {
	for outcome, err := range map[string]error{
		"allowed": nil, "refused": &Refusal{}, CauseStatus: &Failure{Cause: CauseStatus}, "gone": context.Canceled,
	} {
		registry := prometheus.NewRegistry()
		if _, got := Counted(decided{err}, registry).Decide(t.Context(), Request{}); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
		families, gatherErr := registry.Gather()
		if gatherErr != nil {
			t.Fatal(gatherErr)
		}
		counted := map[string]float64{}
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				counted[family.GetName()+labelOf(metric)] = metric.GetCounter().GetValue() +
					float64(metric.GetHistogram().GetSampleCount())
			}
		}
		want := map[string]float64{"nagi_auth_decisions_total " + outcome: 1, "nagi_auth_decision_seconds": 1}
		if diff := cmp.Diff(want, counted); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
	}
}

func labelOf(metric *dto.Metric) string {
	if len(metric.GetLabel()) == 0 {
		return ""
	}

	return " " + metric.GetLabel()[0].GetValue()
}

// FuzzDecodeAnswer: any bytes are a decision, or an error that is no decision.
func FuzzDecodeAnswer(f *testing.F) {
	for _, text := range []string{
		`{"allowed":true,"client_id":"x","metadata":null}`, `{"allowed":false,"reason":"x"}`, `{}`, `null`, `[]`, "\xff",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		answer, err := decodeAnswer(text)
		if err == nil {
			var fields map[string]any
			if json.Unmarshal(text, &fields) != nil || fields["allowed"] != true {
				t.Fatalf("%q allows", text)
			}
			for name, value := range answer {
				if !json.Valid(value) || string(value) == "null" || name == "allowed" {
					t.Fatalf("%q has %s: %q", text, name, value)
				}
			}

			return
		}
		var refusal *Refusal
		var failure *Failure
		if !errors.As(err, &refusal) && !errors.As(err, &failure) {
			t.Fatalf("%q gives %v", text, err)
		}
	})
}
