package signaling

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Whoever is not let in is told why, in Sora's words, and nothing is made for it.
func TestTheAuthorityRefuses(t *testing.T) {
	a := &authority{}
	f := startWebhook(t, a, Config{})
	longest := strings.Repeat("凪", 41) // 123 bytes
	closes := map[string]float64{}
	for _, test := range []struct {
		status int
		answer string
		reason string
	}{
		{200, `{"allowed":false}`, ReasonAuthenticationFailure},
		{200, `{"allowed":false,"reason":""}`, ReasonAuthenticationFailure},
		{200, `{"allowed":false,"reason":"CONNECTION-LIMIT"}`, "CONNECTION-LIMIT"},
		{200, `{"allowed":false,"reason":"` + longest + `x"}`, longest},
		{200, `{"allowed":false,"reason":"x` + longest + `"}`, "x" + longest[:120]},
		{403, `{"allowed":false,"reason":"x"}`, ReasonAuthenticationInternalError},
		{500, ``, ReasonAuthenticationInternalError},
		{200, `sure`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"role":"admin"}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"client_id":""}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"client_id":7}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"client_id":"` + strings.Repeat("x", 256) + `"}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"video_codec_type":"H265"}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"video_bit_rate":0}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"audio":"yes"}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"multistream":false}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"signaling_notify":false}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"forwarding_filters":[{"action":"block"}]}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"forwarding_filter":{"action":"block"}}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"metadata":"` + strings.Repeat("x", 17<<10) + `"}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"simulcast_encodings":{}}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"simulcast_encodings":[]}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"simulcast_encodings":["r0"]}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"simulcast_encodings":[{"rid":"r3"}]}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"simulcast_encodings":[{"rid":"r0"},{"rid":"r0"}]}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"simulcast_encodings":[{"rid":"r0","maxBitrate":-1}]}`, ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"simulcast_encodings":[{"rid":"r0","scaleResolutionDownBy":0.5}]}`,
			ReasonAuthenticationInternalError},
		{200, `{"allowed":true,"simulcast_encodings":[{"rid":"r0","scaleResolutionDownTo":{}}]}`,
			ReasonAuthenticationInternalError},
	} {
		a.answers(test.status, test.answer)
		p := f.dial()
		p.send(connectText(""))
		p.closed(CodeError, test.reason)
		if test.reason == ReasonAuthenticationInternalError {
			closes[ReasonAuthenticationInternalError]++
		} else {
			closes[ReasonAuthenticationFailure]++ // An authority's words are no label of a metric.
		}
	}
	if len(f.room.sessions) != 0 {
		t.Error("somebody who was refused is in the channel")
	}
	if err := f.server.Shutdown(t.Context()); err != nil { // Ends are counted by then.
		t.Fatal(err)
	}
	for reason, want := range closes {
		if got := measured(t, f.server.metrics.closes.WithLabelValues(reason)); got != want {
			t.Errorf("%s is counted %v times, want %v", reason, got, want)
		}
	}
}

// Of what makes no sense nobody is asked; of everybody else once, however long they stay.
func TestTheAuthorityIsAskedOnce(t *testing.T) {
	a := &authority{}
	a.answers(http.StatusOK, `{"allowed":true}`)
	f := startWebhook(t, a, Config{})
	f.room.counts = Counts{Connections: 6, SendrecvConnections: 3, SendonlyConnections: 2, RecvonlyConnections: 1}
	p := f.dial()
	p.send(connectText(`,"audio":1`))
	p.closed(CodeError, ReasonInvalidAudioFormat)
	if requests := a.asked(); len(requests) != 0 {
		t.Errorf("asked for a client that makes no sense: %v", requests)
	}
	p, s := f.established()
	for range 3 {
		s.client.Renegotiate()
		p.receive("re-offer")
		p.send(`{"type":"re-answer","sdp":"b"}`)
		s.expect(t, "answer b")
	}
	requests := a.asked()
	if len(requests) != 1 {
		t.Fatalf("asked %d times", len(requests))
	}
	for name, want := range map[string]float64{"channel_connections": 6, "channel_sendrecv_connections": 3,
		"channel_sendonly_connections": 2, "channel_recvonly_connections": 1} {
		if got := requests[0][name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// hanging is an authority that never answers; it tells that a question begins, and ends.
type hanging struct{ begun, ended chan struct{} }

func (h hanging) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // Only then the server notices that the other side goes.
	h.begun <- struct{}{}
	<-r.Context().Done()
	h.ended <- struct{}{}
}

// An authority that hangs keeps nobody: neither a client that goes nor a server that ends.
func TestAnAuthorityThatHangsKeepsNobody(t *testing.T) {
	h := hanging{make(chan struct{}, 1), make(chan struct{}, 1)}
	f := startWebhook(t, h, Config{})
	p := f.dial()
	p.send(connectText(""))
	await(t, h.begun, "a question")
	_ = p.socket.CloseNow()
	await(t, h.ended, "an end of the question of a client that is gone")

	p = f.dial()
	p.send(connectText(""))
	await(t, h.begun, "a question")
	p.send(`{"type":"disconnect"}`)
	p.closed(CodeNormal, ReasonTypeDisconnect)
	await(t, h.ended, "an end of the question of a client that says that it goes")

	p = f.dial()
	p.send(connectText(""))
	await(t, h.begun, "a question")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	shut := make(chan error, 1)
	go func() { shut <- f.server.Shutdown(ctx) }()
	p.closed(CodeGoingAway, ReasonShutdown)
	await(t, h.ended, "an end of the question of a server that ends")
	if err := await(t, shut, "shutdown"); err != nil {
		t.Error(err)
	}
	if len(f.room.sessions) != 0 {
		t.Error("a client of which nobody has decided is in the channel")
	}
}

// lines is a log that several goroutines write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.text.String()
}

// What a client offers for its authentication goes to the authority and nowhere else:
// neither into the log, whatever becomes of the client, nor to the channel or the client.
func TestSecretsStayWithTheAuthority(t *testing.T) {
	const secret = "s3cret-of-the-client"
	a, log := &authority{}, &lines{}
	f := startWebhook(t, a, Config{
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	connect := connectText(`,"metadata":{"access_token":"` + secret + `"}`)
	for answer, reason := range map[string]string{
		`{"allowed":true,"event_metadata":1}`: "",
		`{"allowed":false}`:                   ReasonAuthenticationFailure,
		`{"allowed":"` + secret + `"}`:        ReasonAuthenticationInternalError,
		secret:                                ReasonAuthenticationInternalError,
	} {
		a.answers(http.StatusOK, answer)
		p := f.dial()
		p.send(connect)
		if reason == "" {
			offer, err := json.Marshal(p.receive("offer"))
			if err != nil || bytes.Contains(offer, []byte(secret)) {
				t.Errorf("the offer is %s, %v", offer, err)
			}
			request := f.seat().request
			if request.Metadata != nil || request.fields != nil {
				t.Errorf("the channel hears of %s, %v", request.Metadata, request.fields)
			}
			p.send(`{"type":"disconnect"}`)
			p.closed(CodeNormal, ReasonTypeDisconnect)
		} else {
			p.closed(CodeError, reason)
		}
	}
	for _, request := range a.asked() {
		if metadata, _ := request["metadata"].(map[string]any); metadata["access_token"] != secret {
			t.Errorf("the authority hears of %v", metadata)
		}
	}
	if text := log.String(); strings.Contains(text, secret) || !strings.Contains(text, "event_metadata") {
		t.Errorf("the log has the secret, or not what has no effect:\n%s", text)
	}
}

// Without an authority, what is secret is not kept either.
func TestWithoutAnAuthorityEverybodyIsAdmitted(t *testing.T) {
	f := start(t, Config{})
	_, as := f.admitted(connectText(`,"client_id":"x","metadata":{"access_token":"y"}`))
	if as.ClientID != "x" || len(as.ConnectionID) != 26 || as.Metadata != nil || as.fields != nil {
		t.Errorf("admitted as %+v", as)
	}
}
