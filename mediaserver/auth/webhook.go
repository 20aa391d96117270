package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/nagi-rtc/nagi/internal/bounds"
)

const (
	// defaultTimeout of one webhook, the wait for its turn included.
	defaultTimeout = 5 * time.Second
	// defaultMaxInFlight is how many webhooks are under way at a time.
	defaultMaxInFlight = 256
	// shareOfNetwork is the part of them, a quarter, that clients of one network have at most:
	// whoever asks all the time keeps their own waiting.
	shareOfNetwork = 4
	// maxAnswer is how long an answer may be, in bytes.
	maxAnswer = 64 << 10
)

// WebhookConfig is what a Webhook needs.
type WebhookConfig struct {
	// URL is asked for each client; http or https. A user name and password in it are
	// sent as basic authentication.
	URL string
	// NodeName is the media server's, as the web server is told it.
	NodeName string
	// Timeout is how long a client may wait for the answer; 0: 5 s.
	Timeout time.Duration
	// MaxInFlight is how many are asked for at a time, the others wait; 0: 256. Of one
	// network it is a quarter of that.
	MaxInFlight int
}

// Webhook asks an HTTP server, as Sora does with its auth webhook.
type Webhook struct {
	url, nodeName string
	timeout       time.Duration
	places        *bounds.Places
	most, ofOne   int // places, in all and for one network
	client        *http.Client
}

var _ Authority = (*Webhook)(nil)

// NewWebhook makes a Webhook. The error says what is wrong with the URL, and does not
// repeat it: it may hold a password. Close ends it.
func NewWebhook(config WebhookConfig) (*Webhook, error) {
	target, err := url.Parse(config.URL)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
		return nil, errors.New("this is no URL of a web server: write one such as https://app.example/sora/auth")
	}
	most := cmp.Or(config.MaxInFlight, defaultMaxInFlight)
	ofOne := max(1, most/shareOfNetwork)
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // It is documented to be one.
	transport.MaxIdleConnsPerHost = most

	return &Webhook{
		url:      config.URL,
		nodeName: config.NodeName,
		timeout:  cmp.Or(config.Timeout, defaultTimeout),
		places:   bounds.NewPlaces(most, ofOne),
		most:     most,
		ofOne:    ofOne,
		client: &http.Client{
			Transport: transport,
			// What was not told where to go is not to be sent elsewhere with a client's secrets.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close ends the connections that wait for another webhook.
func (w *Webhook) Close() { w.client.CloseIdleConnections() }

// errTimeout ends a webhook that takes too long.
var errTimeout = errors.New("timeout")

// Decide asks the web server.
func (w *Webhook) Decide(ctx context.Context, request Request) (Answer, error) {
	request.NodeName = w.nodeName
	request.Timestamp = time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00")
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("marshalling the request of the auth webhook: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.timeout, errTimeout)
	defer cancel()
	leave := w.places.Take(ctx, request.From)
	if leave == nil {
		return nil, w.ended(ctx, CauseBusy, fmt.Sprintf(
			"%d other clients, or %d of the same address, wait for the auth webhook", w.most, w.ofOne))
	}
	defer leave()
	text, err := w.post(ctx, request.ConnectionID, body)
	if err != nil {
		return nil, err
	}

	return decodeAnswer(text)
}

// ended says why a webhook is given up whose context has ended.
func (w *Webhook) ended(ctx context.Context, cause, detail string) error {
	if gone := context.Cause(ctx); !errors.Is(gone, errTimeout) {
		return fmt.Errorf("the client does not wait for the auth webhook: %w", gone)
	}

	return &Failure{Cause: cause, Detail: fmt.Sprintf("%s, for %v (--auth-webhook-timeout)", detail, w.timeout)}
}

// post sends the request and returns the body of an answer of status 200 to 299.
func (w *Webhook) post(ctx context.Context, connectionID string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request of the auth webhook: %w", withoutURL(err))
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Sora-Connection-Id", connectionID)
	response, err := w.client.Do(request)
	if err != nil {
		return nil, w.unreachable(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, &Failure{CauseStatus, fmt.Sprintf(
			"the auth webhook answers with status %d: it has to be 200, and the body to tell who is allowed",
			response.StatusCode)}
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, w.unreachable(ctx, err)
	}
	if len(text) > maxAnswer {
		return nil, &Failure{CauseAnswer, fmt.Sprintf("the auth webhook's answer is longer than %d bytes", maxAnswer)}
	}

	return text, nil
}

func (w *Webhook) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return w.ended(ctx, CauseTimeout, "the auth webhook does not answer")
	}

	return &Failure{CauseUnreachable, fmt.Sprintf(
		"the auth webhook cannot be asked: %s; see --auth-webhook-url", tellable(err))}
}

// tellable is what may be told of an error: of the network and of certificates all, of an
// answer that is no HTTP nothing, since net/http would repeat it.
func tellable(err error) string {
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &network):
		return network.Error()
	case errors.As(err, &certificate):
		return certificate.Error()
	case errors.Is(err, http.ErrSchemeMismatch):
		return "it speaks HTTP where https is asked for"
	case errors.As(err, &tls.RecordHeaderError{}):
		return "it does not speak TLS"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends the connection without an answer"
	default:
		return "its answer is no HTTP"
	}
}

// withoutURL takes the URL out of an error, since it may hold a password.
func withoutURL(err error) error {
	var about *url.Error
	if errors.As(err, &about) {
		return about.Err
	}

	return err
}

// decodeAnswer reads the body of a webhook's answer. Errors do not repeat it: it may
// hold what the client has sent.
func decodeAnswer(text []byte) (Answer, error) {
	var fields Answer
	if !utf8.Valid(text) || json.Unmarshal(text, &fields) != nil || fields == nil {
		return nil, &Failure{CauseAnswer, `the auth webhook's answer is no JSON object: answer with {"allowed": true} ` +
			`or {"allowed": false, "reason": "…"}`}
	}
	allowed, told := fields.verdict()
	if !told {
		return nil, &Failure{CauseAnswer, `the auth webhook's answer does not tell whether the client is allowed: ` +
			`give "allowed" as true or false`}
	}
	if !allowed {
		return nil, &Refusal{Reason: fields.reason(), Detail: "the auth webhook does not allow it"}
	}

	return fields.without("allowed", "reason"), nil
}

// verdict is whether the client is allowed, if the fields tell.
func (a Answer) verdict() (allowed, told bool) {
	var value *bool
	if json.Unmarshal(a["allowed"], &value) != nil || value == nil {
		return false, false
	}

	return *value, true
}

// reason is why the client is not allowed, empty if the fields do not tell.
func (a Answer) reason() string {
	var reason string
	if json.Unmarshal(a["reason"], &reason) != nil {
		return ""
	}

	return reason
}

// without leaves out these fields, and those that are null, which is like absent.
func (a Answer) without(names ...string) Answer {
	for _, name := range names {
		delete(a, name)
	}
	for name, value := range a {
		if string(value) == "null" {
			delete(a, name)
		}
	}

	return a
}
