package browser

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
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
		join := fmt.Sprintf(`join(%q, "browser-auth", "mallory", "sendrecv", %s).catch(({ code, reason }) => ({ code, reason }))`,
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
