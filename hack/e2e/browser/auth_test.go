package browser

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestSDKIsAdmittedByAWebhook: an application's web server decides, as with Sora, who comes in and as whom. The SDK is
// told why it may not, and who may is who the web server says.
func TestSDKIsAdmittedByAWebhook(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Metadata struct {
				AccessToken string `json:"access_token"`
			} `json:"metadata"`
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			w.WriteHeader(http.StatusBadRequest)

			return
		}
		switch token := request.Metadata.AccessToken; token {
		case "":
			_, _ = io.WriteString(w, `{"allowed":false,"reason":"NO-TOKEN"}`)
		case "broken":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			_, _ = fmt.Fprintf(w, `{"allowed":true,"client_id":"%s","video":true,"video_codec_type":"VP8"}`, token)
		}
	}))
	defer web.Close()
	signaling, _ := startMediaServer(t, "127.0.0.1", "--auth-webhook-url="+web.URL)
	url := "ws://" + signaling + "/signaling"
	openTab := newBrowser(t)

	for options, want := range map[string]string{
		`{}`: "NO-TOKEN", `{metadata: {access_token: "broken"}}`: "AUTHENTICATION-INTERNAL-ERROR",
	} {
		tab := openTab(serveSDK(t, currentSDK))
		eventually(t, "the SDK is loaded", func() error {
			var ready bool
			if err := evaluate(t, tab, "window.ready", &ready); err != nil || !ready {
				return fmt.Errorf("not loaded: %w", err)
			}

			return nil
		})
		var refused struct {
			Code   int
			Reason string
		}
		join := fmt.Sprintf(`join(%q, "browser-auth", "mallory", "sendrecv", %s).catch(({ code, `+
			`reason }) => ({ code, reason }))`,
			url, options)
		if err := evaluate(t, tab, join, &refused); err != nil || refused.Code != 4490 || refused.Reason != want {
			t.Errorf("%s: %+v, %v; want 4490 %s", options, refused, err, want)
		}
	}

	join := newSDKIn(t, openTab, currentSDK, url)
	var tabs []sdkTab
	for _, token := range []string{"alice", "bob"} {
		tabs = append(tabs, join("browser-auth", "mallory", "sendrecv", fmt.Sprintf(`{metadata: {access_token: %q}}`, token)))
	}
	alice, bob := tabs[0], tabs[1]
	eventually(t, "alice gets bob", func() error { return alice.goesOn(t, bob.connectionID, nil) })
	if codec := alice.received(t)[bob.connectionID]["video"].Codec; codec != "video/VP8" {
		t.Errorf("bob sends %s, not what the web server has decided", codec)
	}
	var told []struct {
		ConnectionID string `json:"connection_id"`
		ClientID     string `json:"client_id"`
	}
	if err := evaluate(t, alice.tab, `notified("connection.created")`, &told); err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for _, one := range told {
		known[one.ConnectionID] = one.ClientID
	}
	if known[alice.connectionID] != "alice" || known[bob.connectionID] != "bob" {
		t.Errorf("alice is told of %v", told)
	}
}

// shimWithTokens is where a shim of its own listens, which asks for tokens.
const shimWithTokens = "127.0.0.1:3001"

// TestPageShowsTokens: where an authority decides who joins, and the API server who pauses, the page joins and pauses
// with the tokens that it was given, and says which one it lacks.
func TestPageShowsTokens(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, `{"allowed":%t}`, strings.Contains(string(body), `{"access_token":"to-join"}`))
	}))
	defer web.Close()
	signaling, _ := startMediaServer(t, "127.0.0.1", "--auth-webhook-url="+web.URL, "--shim-url=http://"+shimWithTokens)
	startShimWithTokens(t, "http://"+signaling)
	token := pauser(t)

	openTab := newBrowser(t)
	query := url.Values{"channel": {"browser-tokens"}, "source": {"picture"}}
	open := func() pageTab { return pageTab{tab: openTab("http://" + signaling + "/?" + query.Encode())} }
	join := func(p *pageTab) {
		t.Helper()
		p.fill(t, "#client-token", "to-join")
		p.click(t, "#join")
		eventually(t, "the page has joined", func() error {
			if err := evaluate(t, p.tab, "document.body.dataset.connectionId ?? ''", &p.connectionID); err != nil {
				return err
			}
			if p.connectionID == "" {
				return fmt.Errorf("not joined")
			}

			return nil
		})
	}

	alice, bob := open(), open()
	alice.click(t, "#join")
	alice.awaitError(t, "give a token under Tokens, “to join”")
	join(&alice)
	join(&bob)
	eventually(t, "bob moves at alice's", alice.moves(t, bob))
	alice.awaitError(t, "give one under Tokens, “to pause”")

	alice.fill(t, "#api-token", token)
	bobsTile := fmt.Sprintf(`.tile[data-connection-id="%s"]`, bob.connectionID)
	alice.click(t, bobsTile+" [data-action=pause]")
	eventually(t, "bob stands still at alice's", alice.standsStill(t, bob))
	alice.click(t, bobsTile+" [data-action=resume]")
	eventually(t, "bob moves again at alice's", alice.moves(t, bob))
	expectNoError(t, alice)
}

// fill types into a field that may be hidden in its details.
func (p pageTab) fill(t *testing.T, selector, text string) {
	t.Helper()
	show := fmt.Sprintf(`document.querySelector("#tokens").open = true, document.querySelector(%q).value = ""`, selector)
	if err := evaluate(t, p.tab, show, new(any)); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(p.tab, chromedp.SendKeys(selector, text)); err != nil {
		t.Fatalf("typing into %s: %v", selector, err)
	}
}

func (p pageTab) awaitError(t *testing.T, words string) {
	t.Helper()
	eventually(t, "the page says "+words, func() error {
		var shown string
		if err := evaluate(t, p.tab, `document.querySelector("#error").textContent`, &shown); err != nil {
			return err
		}
		if !strings.Contains(shown, words) {
			return fmt.Errorf("it says %q", shown)
		}

		return nil
	})
}

// startShimWithTokens starts one more shim for pages of the origin, and waits until it answers.
func startShimWithTokens(t *testing.T, origin string) {
	t.Helper()
	binary, err := filepath.Abs("../../../bin/shim")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, "--kubeconfig="+kubeconfig, "--listen="+shimWithTokens, "--metrics-listen=127.0.0.1:0",
		"--allow-anonymous=false", "--cors-origin="+origin)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	output := &written{}
	command.Stderr = output
	if err := command.Start(); err != nil {
		t.Fatalf("starting %s (run `make build` first): %v", binary, err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		_ = command.Wait()
	})
	eventually(t, "the shim asks for tokens", func() error {
		err := callAt("http://"+shimWithTokens+"/", "Sora_20200401.ListPauseRtpStreams",
			map[string]string{"channel_id": "x"}, new(any))
		if err == nil || !strings.Contains(err.Error(), "UNAUTHENTICATED") {
			return fmt.Errorf("%w; it wrote:\n%s", err, output)
		}

		return nil
	})
}

// pauser makes a ServiceAccount that may pause in the namespace default, and returns a token of its.
func pauser(t *testing.T) string {
	t.Helper()
	run := func(arguments ...string) string {
		t.Helper()
		output, err := exec.Command(kubectl, append([]string{"--kubeconfig=" + kubeconfig}, arguments...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %v: %v\n%s", arguments, err, output)
		}

		return strings.TrimSpace(string(output))
	}
	run("apply", "-f", "../../../config/rbac/people/editor.yaml")
	run("create", "serviceaccount", "page")
	run("create", "rolebinding", "page", "--clusterrole=nagi-editor", "--serviceaccount=default:page")

	return run("create", "token", "page", "--audience=nagi")
}
