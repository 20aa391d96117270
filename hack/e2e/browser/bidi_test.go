package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// firefox is a headless Firefox, driven by WebDriver BiDi (W3C), which it speaks
// by itself.
type firefox struct {
	socket *websocket.Conn

	mu sync.Mutex // one command at a time
	id int
}

// preferences give a made-up camera and microphone without a question, and let
// what arrives be played.
const preferences = `
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.autoplay.default", 0);
user_pref("media.autoplay.blocking_policy", 0);
user_pref("app.update.disabledForTesting", true);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
`

// drivable is what Firefox writes once it can be driven.
var drivable = regexp.MustCompile(`WebDriver BiDi listening on (ws://\S+)`)

// newFirefox starts one.
func newFirefox(t *testing.T) *firefox {
	t.Helper()
	profile := t.TempDir()
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(preferences), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("firefox-esr", "--headless", "--no-remote", "--profile", profile,
		"--remote-debugging-port", "0")
	command.Env = append(os.Environ(), "HOME="+profile, "MOZ_DISABLE_CONTENT_SANDBOX=1", "MOZ_CRASHREPORTER_DISABLE=1")
	output, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("starting Firefox (Debian: apt-get install firefox-esr): %v", err)
	}
	url, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if found := drivable.FindStringSubmatch(lines.Text()); found != nil {
				url <- found[1]
			}
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-read
		_ = command.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	f := &firefox{}
	select {
	case at := <-url:
		if f.socket, _, err = websocket.Dial(ctx, at+"/session", nil); err != nil {
			t.Fatalf("driving Firefox: %v", err)
		}
	case <-ctx.Done():
		t.Fatalf("Firefox does not say that it can be driven within %v", deadline)
	}
	t.Cleanup(func() { _ = f.socket.CloseNow() })
	f.socket.SetReadLimit(16 << 20)
	if err := f.command("session.new", map[string]any{"capabilities": map[string]any{}}, nil); err != nil {
		t.Fatal(err)
	}

	return f
}

// command has Firefox do something and decodes what it answers.
func (f *firefox) command(method string, parameters, result any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	f.id++
	request, err := json.Marshal(map[string]any{"id": f.id, "method": method, "params": parameters})
	if err != nil {
		return err
	}
	if err := f.socket.Write(ctx, websocket.MessageText, request); err != nil {
		return err
	}
	for {
		_, text, err := f.socket.Read(ctx)
		if err != nil {
			return err
		}
		var answer struct {
			Type, Error, Message string
			ID                   int
			Result               json.RawMessage
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return err
		}
		switch {
		case answer.ID != f.id: // an event
		case answer.Type == "error":
			return fmt.Errorf("%s: %s: %s", method, answer.Error, answer.Message)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(answer.Result, result)
		}
	}
}

// firefoxTab is one of its tabs.
type firefoxTab struct {
	firefox *firefox
	context string
}

func (f *firefox) open(t *testing.T, url string) firefoxTab {
	t.Helper()
	var created struct{ Context string }
	if err := f.command("browsingContext.create", map[string]any{"type": "tab"}, &created); err != nil {
		t.Fatal(err)
	}
	navigation := map[string]any{"context": created.Context, "url": url, "wait": "complete"}
	if err := f.command("browsingContext.navigate", navigation, nil); err != nil {
		t.Fatalf("opening %s: %v", url, err)
	}

	return firefoxTab{f, created.Context}
}

// evaluate runs an expression in the tab, waits for its promise and decodes what it
// gives.
func (tab firefoxTab) evaluate(expression string, result any) error {
	var answer struct {
		Type             string
		Result           struct{ Value string }
		ExceptionDetails struct{ Text string }
	}
	if err := tab.firefox.command("script.evaluate", map[string]any{
		"expression":   fmt.Sprintf("(async () => JSON.stringify((await (%s)) ?? null))()", expression),
		"target":       map[string]any{"context": tab.context},
		"awaitPromise": true, "userActivation": true,
	}, &answer); err != nil {
		return err
	}
	if answer.Type != "success" {
		return errors.New(answer.ExceptionDetails.Text)
	}

	return json.Unmarshal([]byte(answer.Result.Value), result)
}
