// Package sora serves Sora's HTTP API for pausing RTP streams: one POST to "/"
// whose x-sora-target header names the operation.
//
// It turns requests into RtpStreamPause objects and back, and keeps no state of
// its own. docs/sora.md has the table of errors and every difference from Sora.
package sora

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/cmd/shim/callers"
	"github.com/nagi-rtc/nagi/cmd/shim/live"
)

const (
	// maxBodyBytes is the longest request body that Sora reads.
	maxBodyBytes = 8_000_000
	// DefaultBodyTimeout is how long a request body may take to arrive.
	DefaultBodyTimeout = 15 * time.Second
	// DefaultPauseTimeout is how long a pause may take to be enforced.
	DefaultPauseTimeout = 5 * time.Second
	// kubernetesTimeout bounds what one request waits for the API server.
	kubernetesTimeout = 5 * time.Second
)

// Config is what a Handler needs.
type Config struct {
	// Namespace holds the pauses: one shim serves one tenant.
	Namespace string
	// Client reads from the API server itself, so that every replica of the shim
	// sees what any of them wrote.
	Client client.Client
	// Replicas answer who is connected and what is enforced.
	Replicas *live.Replicas
	// PauseTimeout bounds the wait for enforcement, and for managers that are behind;
	// 0: DefaultPauseTimeout.
	PauseTimeout time.Duration
	// BodyTimeout bounds the arrival of a request's body; 0: DefaultBodyTimeout.
	BodyTimeout time.Duration
	// CORSOrigins are those whose pages may call.
	CORSOrigins []string
	// Reviews tell who calls and what they may; nil: nobody is asked for a token, and
	// one that is sent is not looked at.
	Reviews *callers.Reviews
	// AllowAnonymous serves requests without a token.
	AllowAnonymous bool
	Log            *slog.Logger
	Registerer     prometheus.Registerer
}

// Handler is the HTTP API.
type Handler struct {
	config     Config
	pauses     pauses
	access     access
	metrics    *metrics
	operations map[string]operation
}

// operation is one function of the API.
type operation struct {
	schema schema
	// rights are what the caller must be allowed to.
	rights []callers.Right
	run    func(context.Context, arguments) (any, error)
}

// New makes the API. The errors are a CORS origin that is none, and an API that would
// serve nobody.
func New(config Config) (*Handler, error) {
	for _, origin := range config.CORSOrigins {
		if err := CheckOrigin(origin); err != nil {
			return nil, err
		}
	}
	if config.Reviews == nil && !config.AllowAnonymous {
		return nil, errors.New("nobody would be served: no token is reviewed, and no request without one is allowed")
	}
	if config.PauseTimeout == 0 {
		config.PauseTimeout = DefaultPauseTimeout
	}
	if config.BodyTimeout == 0 {
		config.BodyTimeout = DefaultBodyTimeout
	}
	h := &Handler{
		config:  config,
		pauses:  pauses{namespace: config.Namespace, client: config.Client},
		metrics: newMetrics(config.Registerer),
	}
	h.access.needs = pauseNeeds(config.Namespace)
	if !config.AllowAnonymous {
		h.access.needs = append(h.access.needs, reviewNeeds(config.Namespace)...)
	}
	ofChannel := schema{required: []string{"channel_id"}}
	ofConnection := schema{required: []string{"channel_id", "connection_id"}}
	ofClient := schema{required: []string{"channel_id", "client_id"}}
	h.operations = map[string]operation{
		"Sora_20200401.PauseRtpStream":         {edgeSchema, rightsToPause, h.pause},
		"Sora_20200401.ResumeRtpStream":        {edgeSchema, rightsToResume, h.resume},
		"Sora_20200401.ListPauseRtpStreams":    {ofChannel, rightsToList, h.listPauses},
		"Sora_20201013.ListChannelConnections": {ofChannel, rightsToLook, h.listConnections},
		"Sora_20151104.DisconnectConnection":   {ofConnection, rightsToDisconnect, h.disconnectConnection},
		"Sora_20151104.DisconnectClient":       {ofClient, rightsToDisconnect, h.disconnectClient},
		"Sora_20151104.DisconnectChannel":      {ofChannel, rightsToDisconnect, h.disconnectChannel},
	}

	return h, nil
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	// From here on, not only while a body is read: net/http swallows the bodies
	// of requests that are refused early, and would wait for them for ever.
	// A ResponseWriter without deadlines has no slow client either.
	_ = http.NewResponseController(w).SetReadDeadline(began.Add(h.config.BodyTimeout))

	switch {
	// "POST http://host:3000" without a path means the root (RFC 9110 section 4.2.3).
	case r.URL.Path != "/" && r.URL.Path != "":
		h.respond(w, r, http.StatusNotFound, nil)
	case r.Method == http.MethodOptions && len(h.config.CORSOrigins) > 0:
		h.respond(w, r, http.StatusNoContent, nil)
	default:
		name, result, err := h.perform(w, r)
		outcome := h.reply(w, r, name, result, err)
		h.metrics.request(name, outcome, time.Since(began))
	}
}

// reply writes the result or the failure, and returns "ok" or the failure's name.
func (h *Handler) reply(w http.ResponseWriter, r *http.Request, name string, result any, err error) string {
	if err == nil {
		h.respond(w, r, http.StatusOK, result)

		return "ok"
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{status: http.StatusInternalServerError, name: handlerException}
	}
	level := slog.LevelInfo
	if f.status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	h.config.Log.Log(r.Context(), level, "request refused", "operation", name, "status", f.status, "error", err)
	if f.status == http.StatusRequestTimeout || f.status == http.StatusRequestEntityTooLarge {
		// The rest of the body would be taken for the next request.
		w.Header().Set("Connection", "close")
	}
	if f.challenge != "" {
		w.Header()["www-authenticate"] = []string{f.challenge}
	}
	h.respond(w, r, f.status, f.body())

	return f.name
}

// respond writes the whole response. Names are lower-case as Sora documents
// them; net/http would add its own Date and Content-Type beside ours unless the
// canonical keys are there, and a nil value keeps them off the wire.
func (h *Handler) respond(w http.ResponseWriter, r *http.Request, status int, content any) {
	header := w.Header()
	setCORS(header, h.config.CORSOrigins, r.Header.Get("Origin"))
	header["Date"], header["date"] = nil, []string{time.Now().UTC().Format(http.TimeFormat)}
	header["server"] = []string{"nagi"}
	header["Content-Type"] = nil

	var body []byte
	if content != nil {
		var err error
		if body, err = compactJSON(content); err != nil {
			h.config.Log.Error("response cannot be written as JSON", "error", err)
			status, body = http.StatusInternalServerError, []byte(`{"error_type":"`+handlerException+`"}`)
		}
		header["content-type"] = []string{"application/json"}
	}
	if status != http.StatusNoContent {
		// net/http knows the length only under the canonical name.
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	// The only error is that the client has gone.
	_, _ = w.Write(body)
}

// compactJSON is JSON without spaces and without HTML escapes. Keys of maps come
// out in alphabetical order.
func compactJSON(content any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(content); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}

	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

// perform checks a request in Sora's order and runs the operation. Who asks is
// checked before the body, of which nobody reads what strangers send. name is that of
// the operation once it is known to exist, else "unknown".
func (h *Handler) perform(w http.ResponseWriter, r *http.Request) (name string, result any, err error) {
	name = "unknown"
	defer func() {
		if cause := recover(); cause != nil {
			h.config.Log.Error("operation panicked", "operation", name, "cause", cause, "stack", string(debug.Stack()))
			result, err = nil, &failure{status: http.StatusInternalServerError, name: handlerException}
		}
	}()

	t, err := targetOf(r)
	if err != nil {
		return name, nil, err
	}
	op, known := h.operations[t.String()]
	if known {
		name = t.Operation
	}
	caller, err := h.admit(r, op.rights)
	if err != nil {
		return name, nil, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return name, nil, err
	}
	arguments, err := argumentsOf(t, op, known, body)
	if err != nil {
		return name, nil, err
	}
	arguments.caller = caller
	result, err = op.run(r.Context(), arguments)
	if err == nil && changes(op.rights) {
		h.record(name, arguments)
	}

	return name, result, err
}

// record logs what a named caller has changed: of a pause that is gone, and of a
// connection, nothing else would tell.
func (h *Handler) record(operation string, arguments arguments) {
	if arguments.caller == "" {
		return
	}
	values := []any{"operation", operation, "by", arguments.caller}
	for _, key := range slices.Sorted(maps.Keys(arguments.text)) {
		values = append(values, key, shortened(arguments.text[key]))
	}
	h.config.Log.Info("request served", values...)
}

func targetOf(r *http.Request) (target, error) {
	if r.Method != http.MethodPost {
		return target{}, &failure{status: http.StatusBadRequest, name: unexpectedMethod, bareKey: true}
	}
	values := r.Header.Values("X-Sora-Target")
	if len(values) == 0 {
		return target{}, &failure{status: http.StatusBadRequest, name: missingHeaderName, bareKey: true}
	}
	t, ok := parseTarget(strings.Join(values, ", "))
	switch {
	case !ok:
		return target{}, refusal(missingService)
	case t.Service != serviceName:
		return target{}, refusal(invalidTarget)
	}

	return t, nil
}

// readBody reads the whole body, whatever its Content-Type says.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBodyBytes {
		return nil, &failure{status: http.StatusRequestEntityTooLarge, name: payloadTooLarge}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &failure{status: http.StatusRequestEntityTooLarge, name: payloadTooLarge}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &failure{status: http.StatusRequestTimeout, name: requestTimeout}
	case err != nil:
		return nil, fmt.Errorf("read the body: %w: %w", err, malformed("the body ended early, or its chunks are not HTTP's"))
	}
	// The deadline would otherwise end the wait for enforcement: net/http goes on
	// reading to learn whether the client has gone.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})

	return body, nil
}

// argumentsOf checks the body. Whether there is one decides which error an
// unknown target gets, and JSON is read before the target is looked up.
func argumentsOf(t target, op operation, known bool, body []byte) (arguments, error) {
	if len(body) == 0 {
		if !known {
			return arguments{}, refusal(missingTarget)
		}

		return arguments{}, refusalOf(missingTargetFunction, t)
	}
	// A byte order mark may be ignored (RFC 8259 section 8.1).
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	object, err := decodeObject(body)
	if err != nil {
		return arguments{}, malformed(err.Error())
	}
	if !known {
		return arguments{}, refusalOf(schemaNotFound, t)
	}
	checked, violation := op.schema.check(body, object)
	if violation != nil {
		return arguments{}, violation
	}

	return checked, nil
}
