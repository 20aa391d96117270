package sora

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// exchange sends bytes on a fresh connection and returns all bytes of the answer.
func (s *shim) exchange(request string) string {
	s.t.Helper()
	connection, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	// A server may answer and close before it has taken all in.
	_, _ = io.WriteString(connection, request)
	response, err := io.ReadAll(connection)
	if err != nil && len(response) == 0 {
		s.t.Fatal(err)
	}

	return string(response)
}

var dateLine = regexp.MustCompile(`date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`)

func request(method, path, headers, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: shim\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", method,
		path, headers, len(body), body)
}

// TestDocumentedExample is the documented PauseRtpStream exchange to the byte.
func TestDocumentedExample(t *testing.T) {
	s := newShim(t, 1, func(c *Config) { c.CORSOrigins = []string{"http://127.0.0.1:5000"} })
	s.views[0].join("sora", sendrecv(alice), sendrecv(bob))
	body := `{"channel_id":"sora","recv_connection_id":"VTGYC92AZX6M72K860BPREFTMC",` +
		`"send_connection_id":"3X0W1C23KS1TQAAYMKA9TXJS4G"}`
	want := "HTTP/1.1 200 OK\r\n" +
		"Content-Length: 121\r\n" +
		"access-control-allow-headers: Origin, X-Requested-With, Content-Type, Accept, x-sora-target, Authorization, " +
		"x-sora-release-channel\r\n" +
		"access-control-allow-methods: POST, OPTIONS\r\n" +
		"access-control-allow-origin: http://127.0.0.1:5000\r\n" +
		"access-control-max-age: 1000\r\n" +
		"content-type: application/json\r\n" +
		"date: DATE\r\n" +
		"server: nagi\r\n" +
		"Connection: close\r\n\r\n" + body
	for _, operation := range []string{pauseTarget, resumeTarget} {
		got := s.exchange(request("POST", "/", "x-sora-target: "+operation+"\r\nContent-Type: application/json\r\n", body))
		if got = dateLine.ReplaceAllString(got, "date: DATE"); got != want {
			t.Errorf("%s\n got %q\nwant %q", operation, got, want)
		}
	}
}

// TestErrorTable has every row of the table that needs no connection.
func TestErrorTable(t *testing.T) {
	s := newShim(t, 1)
	reason := func(operation, version string) string {
		return `"error_reason":{"operation":"` + operation + `","service":"Sora","version":"` + version + `"},`
	}
	channelSchema := `{"properties":{"channel_id":{"type":"string"}},"required":["channel_id"],"type":"object"}`
	violation := func(data, kind, path, schema string) string {
		return `{"error_reason":[{"data":` + data + `,"error":"` + kind + `","invalid":"data","path":` + path +
			`,"schema":` + schema + `}],"error_type":"InvalidJSON"}`
	}
	malformed := func(message string) string {
		return `{"error_reason":{"message":"` + message + `"},"error_type":"MalformedJSON"}`
	}
	halves := malformed(`half a surrogate pair in a \\u escape: write the character itself, or both halves`)
	end := "unexpected end of JSON input, at byte "
	list := "X-SORA-Target: " + listTarget + "\r\n"
	for _, test := range []struct{ name, method, path, headers, body, wantStatus, want string }{
		{"method", "GET", "/", list, "", "400", `{"type":"UnexpectedMethod"}`},
		{"method before header", "PUT", "/", "", "{", "400", `{"type":"UnexpectedMethod"}`},
		{"OPTIONS without CORS", "OPTIONS", "/", list, "", "400", `{"type":"UnexpectedMethod"}`},
		{"method in lower case", "post", "/", list, channelBody("c"), "400", `{"type":"UnexpectedMethod"}`},
		{"no header", "POST", "/", "", channelBody("c"), "400", `{"type":"MissingHeaderName"}`},
		{"empty header", "POST", "/", "x-sora-target:\r\n", channelBody("c"), "400", `{"error_type":"MissingService"}`},
		{"no separator", "POST", "/", "x-sora-target: Sora_20200401\r\n", "", "400", `{"error_type":"MissingService"}`},
		{"short version", "POST", "/", "x-sora-target: Sora_2020041.Pause\r\n", "", "400", `{"error_type":"MissingService"}`},
		{"digit in the operation", "POST", "/", "x-sora-target: Sora_20200401.Pause2\r\n", "", "400",
			`{"error_type":"MissingService"}`},
		{"digit in the service", "POST", "/", "x-sora-target: Sora2_20200401.Pause\r\n", "", "400",
			`{"error_type":"MissingService"}`},
		{"header twice", "POST", "/", list + list, channelBody("c"), "400", `{"error_type":"MissingService"}`},
		{"other service", "POST", "/", "x-sora-target: ImageFlux_20200401.PauseRtpStream\r\n", "{", "400",
			`{"error_type":"InvalidTarget"}`},
		{"service in lower case", "POST", "/", "x-sora-target: sora_20200401.PauseRtpStream\r\n", "", "400",
			`{"error_type":"InvalidTarget"}`},
		{"unknown target, no body", "POST", "/", "x-sora-target: Sora_20200401.Nothing\r\n", "", "400",
			`{"error_type":"MissingTarget"}`},
		{"known target, no body", "POST", "/", list, "", "400",
			`{` + reason("ListPauseRtpStreams", "20200401") + `"error_type":"MissingTargetFunction"}`},
		{"unknown target, no JSON", "POST", "/", "x-sora-target: Sora_20200401.Nothing\r\n", "{", "400",
			malformed(end + "1")},
		{"unknown target, JSON", "POST", "/", "x-sora-target: Sora_20200402.Nothing\r\n", "{}", "400",
			`{` + reason("Nothing", "20200402") + `"error_type":"SchemaNotFound"}`},
		{"trailing garbage", "POST", "/", list, channelBody("c") + "x", "400",
			malformed(`invalid character 'x' after top-level value, at byte 19`)},
		{"two values", "POST", "/", list, channelBody("c") + channelBody("c"), "400",
			malformed(`invalid character '{' after top-level value, at byte 19`)},
		{"blank body", "POST", "/", list, " \n", "400", malformed(end + "2")},
		{"byte order mark", "POST", "/", list, "\xef\xbb\xbf" + channelBody("c"), "200", "[]"},
		{"two byte order marks", "POST", "/", list, "\xef\xbb\xbf\xef\xbb\xbf" + channelBody("c"), "400",
			malformed(`invalid character 'ï' looking for beginning of value, at byte 1`)},
		{"UTF-16", "POST", "/", list, "\xff\xfe{\x00}\x00", "400",
			malformed("the body begins with the byte order mark of UTF-16: send UTF-8")},
		{"invalid UTF-8", "POST", "/", list, "{\"channel_id\":\"\xff\"}", "400", malformed("the body is not UTF-8")},
		{"lone surrogate", "POST", "/", list, `{"channel_id":"\ud800"}`, "400", halves},
		{"half a pair", "POST", "/", list, `{"channel_id":"\ud83d\u0041"}`, "400", halves},
		{"raw NUL", "POST", "/", list, "{\"channel_id\":\"\x00\"}", "400",
			malformed(`invalid character '\\x00' in string literal, at byte 16`)},
		{"key twice", "POST", "/", list, `{"channel_id":"a","channel_id":"b"}`, "400",
			malformed(`the key \"channel_id\" occurs twice`)},
		{"key twice, escaped", "POST", "/", list, `{"channel_id":"a","channel\u005fid":"b"}`, "400",
			malformed(`the key \"channel_id\" occurs twice`)},
		{"deep nesting", "POST", "/", list, strings.Repeat("[", 1_000_000), "400",
			malformed("invalid character '[' exceeded max depth, at byte 10001")},
		{"closed deep nesting", "POST", "/", list, strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), "400",
			malformed("invalid character '[' exceeded max depth, at byte 10001")},
		{"array", "POST", "/", list, "[]", "400", violation("[]", "wrong_type", "[]", channelSchema)},
		{"null", "POST", "/", list, " null ", "400", violation("null", "wrong_type", "[]", channelSchema)},
		{"huge number", "POST", "/", list, "1e999999", "400", violation("1e999999", "wrong_type", "[]", channelSchema)},
		{"missing property", "POST", "/", list, "{}", "400",
			violation(`"channel_id"`, "missing_required_property", "[]", channelSchema)},
		{"wrong type", "POST", "/", list, `{"channel_id":[1, "<&>"]}`, "400",
			violation(`[1,"<&>"]`, "wrong_type", `["channel_id"]`, `{"type":"string"}`)},
		{"null property", "POST", "/", list, `{"channel_id":null}`, "400",
			violation("null", "wrong_type", `["channel_id"]`, `{"type":"string"}`)},
		{"wrong type before missing", "POST", "/", "x-sora-target: " + pauseTarget + "\r\n", `{"send_connection_id":7}`,
			"400", violation("7", "wrong_type", `["send_connection_id"]`, `{"type":"string"}`)},
		{"extra properties", "POST", "/", list, `{"channel_id":"c","x":{"a":1,"a":2}}`, "200", "[]"},
		{"pair of surrogates", "POST", "/", list, `{"channel_id":"\ud83d\ude00 \\ud800"}`, "200", "[]"},
		{"escaped NUL", "POST", "/", list, `{"channel_id":"\u0000"}`, "200", "[]"},
		{"any separator", "POST", "/", "x-sora-target: Sora_20200401/ListPauseRtpStreams\r\n", channelBody("c"), "200", "[]"},
		{"no path", "POST", "http://shim:3000", list, channelBody("c"), "200", "[]"},
		{"no path but a query", "POST", "http://shim:3000?q=1", list, channelBody("c"), "200", "[]"},
		{"ours in place of Sora's", "POST",
			"/", "x-sora-target: " + pauseTarget + "\r\n", `{"recv_client_id":"a","channel_id":"c"}`, "400",
			violation(`"send_connection_id"`, "missing_required_property", "[]",
				`{"properties":{"channel_id":{"type":"string"},"recv_client_id":{"type":"string"},`+
					`"send_connection_id":{"type":"string"}},"required":["channel_id","recv_client_id","send_connection_id"],`+
					`"type":"object"}`)},
		{"both ids", "POST", "/", "x-sora-target: " + pauseTarget + "\r\n",
			`{"recv_client_id":"a","recv_connection_id":null}`, "400",
			`{"error_reason":{"message":"recv_connection_id and recv_client_id are both there, ` +
				`and each names this end of the stream: give one of them"},"error_type":"AMBIGUOUS-IDS"}`},
		{"foreign content type", "POST", "/?q=1", list + "Content-Type: text/plain\r\n", channelBody("c"), "200", "[]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.exchange(request(test.method, test.path, test.headers, test.body))
			head, body, _ := strings.Cut(got, "\r\n\r\n")
			if !strings.HasPrefix(head, "HTTP/1.1 "+test.wantStatus+" ") || body != test.want {
				t.Errorf("\n got %s\nwant %s %s", got, test.wantStatus, test.want)
			}
			for _, line := range []string{
				"content-type: application/json", "server: nagi", fmt.Sprintf("Content-Length: %d", len(test.want)),
			} {
				if strings.Count(strings.ToLower(head), strings.ToLower(line)) != 1 {
					t.Errorf("%q is not once in %q", line, head)
				}
			}
			if strings.Count(strings.ToLower(head), "\r\ndate:") != 1 || strings.Contains(head, "access-control") {
				t.Errorf("date or CORS wrong in %q", head)
			}
		})
	}
}

func TestOtherPaths(t *testing.T) {
	s := newShim(t, 1, func(c *Config) { c.CORSOrigins = []string{"https://example.org"} })
	if got := s.exchange(request("OPTIONS", "http://shim:3000", "", "")); !strings.HasPrefix(got, "HTTP/1.1 204 ") {
		t.Errorf("OPTIONS without a path: %q", got)
	}
	for _, path := range []string{"/x", "//", "/sora-api", "*"} {
		method := "POST"
		if path == "*" {
			method = "OPTIONS"
		}
		got := s.exchange(request(method, path, "x-sora-target: "+listTarget+"\r\n", ""))
		if !strings.HasPrefix(got, "HTTP/1.1 404 ") || !strings.HasSuffix(got, "\r\n\r\n") ||
			!strings.Contains(got, "Content-Length: 0\r\n") ||
			strings.Contains(got, "ontent-type") ||
			!strings.Contains(got, "access-control-allow-origin: https://example.org\r\n") {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestCORS(t *testing.T) {
	s := newShim(t, 1, func(c *Config) { c.CORSOrigins = []string{"http://127.0.0.1:5000"} })
	for _, test := range []struct{ method, headers, wantStatus string }{
		{"OPTIONS", "Origin: http://elsewhere\r\nAccess-Control-Request-Headers: " +
			"authorization,x-sora-release-channel,x-sora-target\r\n", "204"},
		{"POST", "Origin: http://elsewhere\r\n", "400"},
		{"GET", "", "400"},
	} {
		got := s.exchange(request(test.method, "/", test.headers, ""))
		if !strings.HasPrefix(got, "HTTP/1.1 "+test.wantStatus+" ") {
			t.Errorf("%s: %q", test.method, got)
		}
		for _, header := range []string{
			"access-control-allow-headers: Origin, X-Requested-With, Content-Type, Accept, x-sora-target, Authorization, " +
				"x-sora-release-channel\r\n",
			"access-control-allow-methods: POST, OPTIONS\r\n", "access-control-allow-origin: http://127.0.0.1:5000\r\n",
			"access-control-max-age: 1000\r\n",
		} {
			if strings.Count(got, header) != 1 {
				t.Errorf("%s: %q is not once in %q", test.method, header, got)
			}
		}
		if test.wantStatus == "204" && (strings.Contains(got, "ontent-") && strings.Contains(got, "ontent-type")) {
			t.Errorf("204 with a content type: %q", got)
		}
	}
}

// TestCORSOfSeveralOrigins: each page is told its own origin, and caches that it depends on it.
func TestCORSOfSeveralOrigins(t *testing.T) {
	s := newShim(t, 1, func(c *Config) { c.CORSOrigins = []string{"http://127.0.0.1:5000", "https://example.org"} })
	for origin, want := range map[string]string{
		"http://127.0.0.1:5000": "http://127.0.0.1:5000", "https://example.org": "https://example.org",
		"http://elsewhere": "http://127.0.0.1:5000", "": "http://127.0.0.1:5000",
	} {
		for _, method := range []string{"OPTIONS", "POST"} {
			got := s.exchange(request(method, "/", "Origin: "+origin+"\r\n", ""))
			for _, header := range []string{"access-control-allow-origin: " + want + "\r\n", "vary: Origin\r\n"} {
				if strings.Count(got, header) != 1 {
					t.Errorf("%s from %q: %q is not once in %q", method, origin, header, got)
				}
			}
		}
	}
}

func TestOrigins(t *testing.T) {
	for origin, want := range map[string]string{
		"": "does not start", "http://127.0.0.1:5000": "", "https://example.org": "", "http://[::1]:5000": "",
		"http://example.org/":    "slash",
		"http://example.org/app": "path",
		"example.org":            "does not start",
		"*":                      "does not start",
		"ftp://example.org":      "does not start",
		"http://":                "not a scheme",
		"http://a b":             "invalid",
		"http://a,http://b":      "origin",
		"http://u@h":             "not a scheme",
		"http://h?q":             "not a scheme",
		"http://*":               "one origin",
		"null":                   "does not start",
	} {
		err := CheckOrigin(origin)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", origin, err, want)
		}
	}
}

func TestLongBodies(t *testing.T) {
	s := newShim(t, 1)
	head := "POST / HTTP/1.1\r\nHost: shim\r\nConnection: close\r\nx-sora-target: " + listTarget + "\r\n"
	fits := `{"channel_id":"c","x":"` + strings.Repeat("a", maxBodyBytes-len(`{"channel_id":"c","x":""}`)) + `"}`

	if got := s.exchange(fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(fits), fits)); !strings.HasSuffix(got,
		"\r\n\r\n[]") {
		t.Errorf("%d bytes: %q", len(fits), got)
	}
	for name, long := range map[string]string{
		"length": fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, maxBodyBytes+1),
		"chunks": fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s \r\n0\r\n\r\n", head, len(fits)+1, fits),
	} {
		if got := s.exchange(long); !strings.HasPrefix(got, "HTTP/1.1 413 ") ||
			!strings.HasSuffix(got, "\r\n\r\n"+`{"error_type":"PayloadTooLarge"}`) {
			t.Errorf("%s: %q", name, got)
		}
	}
	chunked := head + "Transfer-Encoding: chunked\r\n\r\n10\r\n{\"channel_id\":\"c\r\n2\r\n\"}\r\n0\r\n\r\n"
	if got := s.exchange(chunked); !strings.HasSuffix(got, "\r\n\r\n[]") {
		t.Errorf("chunked: %q", got)
	}
	if got := s.exchange(head + "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"); !strings.HasSuffix(got,
		`{"error_reason":{"message":"the body ended early, or its chunks are not HTTP's"},"error_type":"MalformedJSON"}`) {
		t.Errorf("broken chunks: %q", got)
	}
}

func TestSlowBodies(t *testing.T) {
	s := newShim(t, 1, func(c *Config) { c.BodyTimeout = 100 * time.Millisecond })
	head := "POST / HTTP/1.1\r\nHost: shim\r\nContent-Length: 100\r\n"
	if got := s.exchange(head + "x-sora-target: " + listTarget + "\r\n\r\n{"); !strings.HasPrefix(got,
		"HTTP/1.1 408 ") || !strings.HasSuffix(got, `{"error_type":"RequestTimeout"}`) {
		t.Errorf("slow body: %q", got)
	}
	// A request refused before its body is read must not wait for the body for ever.
	if got := s.exchange(head + "\r\n{"); !strings.HasSuffix(got, `{"type":"MissingHeaderName"}`) {
		t.Errorf("slow refused body: %q", got)
	}
}

// TestBodyTimeoutEndsWithTheBody: the deadline must cut neither the wait of a
// pause nor the next request of the connection.
func TestBodyTimeoutEndsWithTheBody(t *testing.T) {
	s := newShim(t, 1, func(c *Config) { c.BodyTimeout, c.PauseTimeout = 50*time.Millisecond, 200*time.Millisecond })
	s.views[0].join(t.Name(), sendrecv(alice), sendrecv(bob))
	s.views[0].set(func(v *view) { v.holding = true })
	body := edgeBody(t.Name(), alice, bob)
	connection, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	reader := bufio.NewReader(connection)
	for range 2 {
		if _, err := fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: shim\r\nx-sora-target: %s\r\nContent-Length: "+
			"%d\r\n\r\n%s", pauseTarget, len(body), body); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusServiceUnavailable ||
			!bytes.Contains(content, []byte("NOT-CONFIRMED")) {
			t.Fatalf("%d %s %v", response.StatusCode, content, err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCrashedOperation(t *testing.T) {
	s := newShim(t, 1, func(c *Config) { c.Replicas = nil })
	s.expect(whoTarget, channelBody("c"), http.StatusInternalServerError, `{"error_type":"HandlerException"}`)
}
