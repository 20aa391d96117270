// Package browser tests the running system as its users see it: with a real
// browser, the unmodified SDK and the documented command lines.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// The addresses that `make run` serves on, which the documented command lines
// name.
const (
	pageURL = "http://127.0.0.1:5000/"
	// secondPageURL is the second media server's.
	secondPageURL = "http://127.0.0.1:5001/"
	signalingURL  = "ws://127.0.0.1:5000/signaling"
)

// kubeconfig and kubectl are the paths that nagi has printed.
var kubeconfig, kubectl string

var introduced = regexp.MustCompile(`\n  kubeconfig +(\S+)\n  kubectl +(\S+)\n`)

// written keeps what a program writes while others read it.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.text.String()
}

// apiURL is where the HTTP API is, and bearer the token that it is shown; nothing is
// shown on loopback. TestMain alone changes them.
var (
	apiURL = "http://127.0.0.1:3000/"
	bearer string
)

// deadline bounds every wait for a condition.
const deadline = 60 * time.Second

// occupy has a bot at the media server that the channel sora left idle. From then on a
// media server that a test starts is the least loaded one, so the channel that its first
// client opens there is its own, with its address for media and its authority.
func occupy() (*bot.Bot, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	b, err := bot.Join(ctx, bot.Config{URL: signalingURL, ChannelID: "browser-idle", Role: bot.RecvOnly})
	if err != nil {
		return nil, fmt.Errorf("a bot for the idle media server: %w", err)
	}

	return b, nil
}

// startSystem starts what `make run` starts: everything, with two bots in the
// channel sora. The arguments are nagi's, api is where they put the HTTP API.
func startSystem(api string, arguments ...string) (stop func() error, err error) {
	binary, err := filepath.Abs("../../../bin/nagi")
	if err != nil {
		return nil, err
	}
	command := exec.Command(binary, arguments...)
	output := &written{}
	command.Stdout = output
	command.Stderr = output
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s (run `make build controlplane` first): %w", binary, err)
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()

	stop = func() error {
		_ = command.Process.Signal(os.Interrupt)
		select {
		case err := <-exited:
			return err
		case <-time.After(deadline):
			_ = command.Process.Kill()

			return errors.New("it did not end after an interrupt")
		}
	}

	for end := time.Now().Add(deadline); ; {
		var connections []map[string]any
		err := callAt(api, "Sora_20201013.ListChannelConnections", map[string]string{"channel_id": "sora"}, &connections)
		if match := introduced.FindStringSubmatch(output.String()); err == nil && len(connections) == 2 && match != nil {
			kubeconfig, kubectl = match[1], match[2]

			return stop, nil
		}
		select {
		case err := <-exited:
			return nil, fmt.Errorf("nagi ended: %w\n%s", err, output.String())
		case <-time.After(200 * time.Millisecond):
		}
		if time.Now().After(end) {
			return nil, errors.Join(fmt.Errorf("nagi has no two bots in the channel sora after %v", deadline), stop())
		}
	}
}

// call sends one request to the HTTP API and decodes the response into result.
func call(target string, request map[string]string, result any) error {
	return callAt(apiURL, target, request, result)
}

func callAt(api, target string, request map[string]string, result any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	post, err := http.NewRequestWithContext(context.Background(), http.MethodPost, api, bytes.NewReader(body))
	if err != nil {
		return err
	}
	post.Header.Set("X-Sora-Target", target)
	if bearer != "" {
		post.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %v: %s %s", target, request, response.Status, answer)
	}

	return json.Unmarshal(answer, result)
}

func list(target, channelID string) ([]map[string]any, error) {
	var result []map[string]any
	err := call(target, map[string]string{"channel_id": channelID}, &result)

	return result, err
}

// eventually waits until condition holds, and fails the test with its last
// complaint when that takes too long.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	end := time.Now().Add(deadline)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v until %s: %v", deadline, what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestDocumentedCommandLines runs the lines of Sora's documentation literally,
// with only the connection ids replaced.
func TestDocumentedCommandLines(t *testing.T) {
	connections, err := list("Sora_20201013.ListChannelConnections", "sora")
	if err != nil {
		t.Fatal(err)
	}
	receiver, sender := connections[0]["connection_id"].(string), connections[1]["connection_id"].(string)
	edge := fmt.Sprintf(`{"channel_id":"sora","recv_connection_id":"%s","send_connection_id":"%s"}`, receiver, sender)
	paused := fmt.Sprintf(
		`[{"channel_id":"sora","recv_connection_id":"%s","role":"sendrecv","send_connection_id":"%s"}]`, receiver, sender,
	)

	for _, line := range []struct{ command, body string }{
		{`http POST 127.0.0.1:3000/ x-sora-target:Sora_20200401.PauseRtpStream \
channel_id=sora \
recv_connection_id=VTGYC92AZX6M72K860BPREFTMC \
send_connection_id=3X0W1C23KS1TQAAYMKA9TXJS4G \
-vvv`, edge},
		{`http POST 127.0.0.1:3000/ x-sora-target:Sora_20200401.ListPauseRtpStreams \
channel_id=sora \
-vvv`, paused},
		{`http POST 127.0.0.1:3000/ x-sora-target:Sora_20200401.ResumeRtpStream \
channel_id=sora \
recv_connection_id=VTGYC92AZX6M72K860BPREFTMC \
send_connection_id=3X0W1C23KS1TQAAYMKA9TXJS4G \
-vvv`, edge},
		{`http POST 127.0.0.1:3000/ x-sora-target:Sora_20200401.ListPauseRtpStreams \
channel_id=sora \
-vvv`, `[]`},
	} {
		command := strings.NewReplacer("VTGYC92AZX6M72K860BPREFTMC", receiver,
			"3X0W1C23KS1TQAAYMKA9TXJS4G", sender).Replace(line.command)
		status, header, body := runHTTPie(t, command)
		if status != "HTTP/1.1 200 OK" {
			t.Errorf("%s\nanswered %q", command, status)
		}
		for name, want := range map[string]string{
			"access-control-allow-headers": "Origin, X-Requested-With, Content-Type, Accept, x-sora-target, Authorization, " +
				"x-sora-release-channel",
			"access-control-allow-methods": "POST, OPTIONS",
			"access-control-allow-origin":  "http://127.0.0.1:5000",
			"access-control-max-age":       "1000",
			"content-type":                 "application/json",
			"content-length":               fmt.Sprint(len(line.body)),
			"server":                       "nagi",
		} {
			if got := header[name]; got != want {
				t.Errorf("%s\nanswered %s: %q, want %q", command, name, got, want)
			}
		}
		if compact(t, body) != line.body {
			t.Errorf("%s\nanswered the body %s, want %s", command, body, line.body)
		}
	}
}

// escape matches what HTTPie colours its output with on a terminal.
var escape = regexp.MustCompile("\x1b\\[[0-9;]*m")

// runHTTPie runs a command line as typed at a terminal (without one, HTTPie
// would read a body from standard input) and takes the response apart that it
// prints after the request. HTTPie indents JSON whatever the server sent.
func runHTTPie(t *testing.T, line string) (status string, header map[string]string, body string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "script", "--quiet", "--return", "--command", line, "/dev/null")
	typescript, err := command.CombinedOutput()
	output := strings.ReplaceAll(escape.ReplaceAllString(string(typescript), ""), "\r", "")
	if err != nil {
		t.Fatalf("%s\n%v\n%s", line, err, output)
	}
	_, response, found := strings.Cut(output, "\nHTTP/1.1 ")
	if !found {
		t.Fatalf("%s\nprinted no response:\n%s", line, output)
	}
	head, body, _ := strings.Cut(response, "\n\n")
	header = make(map[string]string)
	lines := bufio.NewScanner(strings.NewReader(head))
	lines.Scan()
	status = "HTTP/1.1 " + lines.Text()
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ": "); ok {
			header[strings.ToLower(name)] = value
		}
	}
	// -vvv ends with a metadata line about the time it took.
	body, _, _ = strings.Cut(body, "\n\n")

	return status, header, body
}

func compact(t *testing.T, body string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(body)); err != nil {
		t.Fatalf("not JSON: %q: %v", body, err)
	}

	return out.String()
}
