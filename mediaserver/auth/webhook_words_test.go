package auth

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What answers is not repeated in errors, whatever it is: it may have been told secrets, or tell the URL.
func TestWordsOfTheWebServerAreNotTold(t *testing.T) {
	for name, answer := range map[string]string{
		"an echo":           "",
		"no version":        secret + " 200 OK\r\n\r\n",
		"no status":         "HTTP/1.1 " + secret + "\r\n\r\n",
		"a malformed field": "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n",
		"no length":         "HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n",
		"no coding":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		"no chunk":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secret + "\r\n",
		"nothing":           "\n",
		"elsewhere":         "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://" + secret + "%zz\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := webhook(t, WebhookConfig{URL: "http://" + speaking(t, answer) + "/?key=" + secret}, nil)
			_, err := w.Decide(t.Context(), asked())
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// speaking is the address of a server that says a text to whoever asks it, or the first line that it is told.
func speaking(t *testing.T, text string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			if text != "" {
				line = text
			}
			_, _ = fmt.Fprint(conn, line)
			_ = conn.Close()
		}
	}()

	return listener.Addr().String()
}

// Why a web server cannot be asked is told as far as it helps.
func TestWhatHindersTheWebhookIsTold(t *testing.T) {
	plain, withTLS := httptest.NewServer(http.NotFoundHandler()), httptest.NewTLSServer(http.NotFoundHandler())
	withTLS.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer plain.Close()
	defer withTLS.Close()
	for address, want := range map[string]string{
		"http://127.0.0.1:1":                             "connection refused",
		"http://nowhere.invalid":                         "lookup nowhere.invalid",
		strings.Replace(plain.URL, "http:", "https:", 1): "it speaks HTTP where https is asked for",
		"https://" + speaking(t, "220 mail.example\r\n"): "it does not speak TLS",
		"http://" + speaking(t, "\n"):                    "its answer is no HTTP",
		withTLS.URL:                                      "certificate",
	} {
		w := webhook(t, WebhookConfig{URL: address}, nil)
		_, err := w.Decide(t.Context(), asked())
		expectError(t, err, false, "", CauseUnreachable)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", address, err, want)
		}
	}
}
