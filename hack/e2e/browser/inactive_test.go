package browser

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestInactiveEncodings: an encoding that the authority makes inactive a browser does not send, through later offers
// neither, and who asks for it gets the next lower.
func TestInactiveEncodings(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"allowed":true,"simulcast":true,`+
			`"simulcast_encodings":[{"rid":"r0"},{"rid":"r1"},{"rid":"r2","active":false}]}`)
	}))
	defer web.Close()
	signaling, _ := startMediaServer(t, "127.0.0.1", "--auth-webhook-url="+web.URL)
	join := newSDKIn(t, newBrowser(t), currentSDK, "ws://"+signaling+"/signaling")
	const channelID = "browser-inactive"
	sender := join(channelID, "grace", "sendrecv",
		`{large: true, simulcast: true, videoCodecType: "VP8", videoBitRate: 1500}`)
	sends := func() error {
		var sent map[string]int
		if err := evaluate(t, sender.tab, "sizes()", &sent); err != nil {
			return err
		}
		if want := map[string]int{"r0": 240, "r1": 480}; !maps.Equal(sent, want) {
			return fmt.Errorf("widths %v, want %v", sent, want)
		}

		return nil
	}
	receiver := join(channelID, "heidi", "recvonly", `{simulcast: true, simulcastRequestRid: "r2"}`)
	eventually(t, "who asks for r2 gets r1", func() error { return receiver.sees(t, sender, 480) })
	eventually(t, "the others are sent", sends)

	join(channelID, "ivan", "sendonly", `{videoCodecType: "VP8"}`) // brings the sender another offer
	before := receiver.received(t)
	eventually(t, "it goes on", func() error { return receiver.goesOn(t, sender.connectionID, before) })
	if err := receiver.sees(t, sender, 480); err != nil {
		t.Error(err)
	}
	if err := sends(); err != nil {
		t.Error(err)
	}
}
