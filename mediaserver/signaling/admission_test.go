package signaling

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/mediaserver/auth"
)

// authority is a web server that clients are asked of.
type authority struct {
	mu       sync.Mutex
	status   int
	answer   string
	requests []map[string]any
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request map[string]any
	err := json.NewDecoder(r.Body).Decode(&request)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.status = http.StatusBadRequest
	}
	a.requests = append(a.requests, request)
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.answer)
}

func (a *authority) answers(status int, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status, a.answer = status, text
}

// asked takes the requests that have come.
func (a *authority) asked() []map[string]any {
	a.mu.Lock()
	defer a.mu.Unlock()
	requests := a.requests
	a.requests = nil

	return requests
}

// startWebhook starts a server whose clients a web server decides about.
func startWebhook(t *testing.T, handler http.Handler, config Config) *fixture {
	t.Helper()
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	webhook, err := auth.NewWebhook(auth.WebhookConfig{URL: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(webhook.Close)
	config.Authority = webhook

	return start(t, config)
}

// admitted has a client connect and returns its offer and what it was admitted as.
func (f *fixture) admitted(connect string) (offer map[string]any, as Connect) {
	f.Helper()
	p := f.dial()
	p.send(connect)
	offer = p.receive("offer")
	s := f.seat()
	p.send(`{"type":"disconnect"}`)
	p.closed(CodeNormal, ReasonTypeDisconnect)

	return offer, s.request
}

// What the authority decides takes the place of what the client says, field by field.
func TestTheAuthorityDecides(t *testing.T) {
	a := &authority{}
	f := startWebhook(t, a, Config{})
	plain := Connect{
		Role: forwardingv1.Role_ROLE_SENDRECV, ChannelID: "sora", ClientID: "mallory",
		Audio: &Media{CodecType: "OPUS", Opus: defaultOpus}, Video: &Media{CodecType: "VP8", BitRate: 500},
		NotifyMetadata: []byte(`"client"`),
	}
	const client = `,"client_id":"mallory","video":{"codec_type":"VP8","bit_rate":500},` +
		`"signaling_notify_metadata":"client","metadata":{"access_token":"t"}`
	for name, test := range map[string]struct {
		more, answer string
		change       func(*Connect)
	}{
		"nothing":           {"", ``, func(*Connect) {}},
		"what nobody knows": {"", `,"x":{"y":1},"allowed_until":null`, func(*Connect) {}},
		"null":              {"", `,"client_id":null,"role":null,"video":null,"metadata":null`, func(*Connect) {}},
		"who it is": {"", `,"client_id":"alice","bundle_id":"b"`, func(c *Connect) {
			c.ClientID, c.BundleID = "alice", "b"
		}},
		"its role": {"", `,"role":"recvonly"`, func(c *Connect) { c.Role = forwardingv1.Role_ROLE_RECVONLY }},
		"what the others are shown": {"", `,"signaling_notify_metadata":{"name":"Alice"}`, func(c *Connect) {
			c.NotifyMetadata = []byte(`{"name":"Alice"}`)
		}},
		"no video":                  {"", `,"video":false,"video_codec_type":"H264"`, func(c *Connect) { c.Video = nil }},
		"video as the client likes": {"", `,"video":true`, func(*Connect) {}},
		"video": {`,"video":false`, `,"video":true`, func(c *Connect) {
			c.Video = &Media{CodecType: "VP9"}
		}},
		"video, once there is some": {`,"video":false`, `,"video_codec_type":"AV1"`, func(c *Connect) { c.Video = nil }},
		"the codec": {"", `,"video":true,"video_codec_type":"AV1","video_av1_params":{"profile":1}`, func(c *Connect) {
			c.Video = &Media{CodecType: "AV1", Profile: "1", BitRate: 500}
		}},
		"the bit rate": {"", `,"video_bit_rate":300,"audio_bit_rate":64`, func(c *Connect) {
			c.Video.BitRate, c.Audio.BitRate = 300, 64
		}},
		"an object, as of old": {"", `,"video":{"codec_type":"VP9"}`, func(c *Connect) {
			c.Video = &Media{CodecType: "VP9"}
		}},
		"audio": {`,"audio":true`, `,"audio":true,"audio_codec_type":"OPUS","audio_opus_params":{"channels":1}`,
			func(c *Connect) { c.Audio.Opus.Stereo, c.Audio.Opus.SpropStereo = false, false }},
		"simulcast": {`,"simulcast_request_rid":"r2"`, `,"simulcast":true,"simulcast_rid":"r0"`,
			func(c *Connect) { c.Simulcast, c.RequestRID = true, "r0" }},
		"spotlight": {`,"spotlight_focus_rid":"r2"`,
			`,"spotlight":true,"spotlight_number":2,"spotlight_unfocus_rid":"none"`,
			func(c *Connect) { c.Spotlight = &Spotlight{Number: 2, FocusRID: "r2", UnfocusRID: "none"} }},
		"what the client is told": {"", `,"metadata":{"a": [1]}`, func(c *Connect) {
			c.OfferMetadata = []byte(`{"a":[1]}`)
		}},
		"what has no effect": {"", `,"event_metadata":{"a":1},"data_channels":[{}],"multistream":true,` +
			`"signaling_notify":true,"forwarding_filters":[]`, func(*Connect) {}},
	} {
		t.Run(name, func(t *testing.T) {
			a.answers(http.StatusOK, `{"allowed":true`+test.answer+`}`)
			offer, got := f.admitted(connectText(client + test.more))
			request := a.asked()[0]
			id := got.ConnectionID
			if len(id) != 26 || request["connection_id"] != id || request["client_id"] != "mallory" ||
				request["bundle_id"] != id {
				t.Errorf("admitted as %q, asked for %v", id, request)
			}
			got.ConnectionID = ""
			want := plain
			want.Audio, want.Video = &Media{}, &Media{}
			*want.Audio, *want.Video = *plain.Audio, *plain.Video
			test.change(&want)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Connect{})); diff != "" {
				t.Errorf("admitted as (-want +got):\n%s", diff)
			}
			told, err := json.Marshal(offer["metadata"])
			if err != nil {
				t.Fatal(err)
			}
			if want := string(want.OfferMetadata); string(told) != want && (want != "" || string(told) != "{}") {
				t.Errorf("the offer has metadata %s, want %s", told, want)
			}
		})
	}
}

// The authority says what a client sends of simulcast.
func TestTheAuthorityDecidesEncodings(t *testing.T) {
	a := &authority{}
	f := startWebhook(t, a, Config{})
	encoding := func(rid string, active bool, scale float64, more map[string]any) map[string]any {
		e := map[string]any{"rid": rid, "active": active, "scalabilityMode": "L1T1"}
		if scale > 0 {
			e["scaleResolutionDownBy"] = scale
		}
		for name, value := range more {
			e[name] = value
		}

		return e
	}
	for encodings, want := range map[string][]any{
		`[{"rid":"r0"},{"rid":"r1","active":true}]`: {
			encoding("r0", true, 4, nil), encoding("r1", true, 2, nil), encoding("r2", false, 1, nil),
		},
		`[{"rid":"r2","active":false,"x":1},` +
			`{"rid":"r0","maxBitrate":1000,"minBitrate":1,"maxFramerate":7.5,"scalabilityMode":"L1T3","adaptivePtime":true},` +
			`{"rid":"r1","scaleResolutionDownTo":{"maxWidth":640,"maxHeight":360}}]`: {
			encoding("r0", true, 4, map[string]any{
				"maxBitrate": 1000., "minBitrate": 1., "maxFramerate": 7.5, "scalabilityMode": "L1T3",
				"adaptivePtime": true,
			}),
			encoding("r1", true, 0, map[string]any{
				"scaleResolutionDownTo": map[string]any{"maxWidth": 640., "maxHeight": 360.},
			}),
			encoding("r2", false, 1, nil),
		},
	} {
		a.answers(http.StatusOK, `{"allowed":true,"simulcast":true,"simulcast_encodings":`+encodings+`}`)
		offer, _ := f.admitted(connectText(""))
		if diff := cmp.Diff(want, offer["encodings"]); diff != "" {
			t.Errorf("%s: the offer (-want +got):\n%s", encodings, diff)
		}
	}
	a.answers(http.StatusOK, `{"allowed":true,"simulcast":false,"simulcast_encodings":[{"rid":"r0"}]}`)
	if offer, _ := f.admitted(connectText(`,"simulcast":true`)); offer["encodings"] != nil || offer["simulcast"] != false {
		t.Errorf("encodings without simulcast: %v", offer)
	}
	if _, as := f.admitted(connectText(`,"simulcast_encodings":[{"rid":"r0"}]`)); as.Encodings == nil {
		t.Error("the authority's encodings are lost")
	}
	a.answers(http.StatusOK, `{"allowed":true}`)
	if _, as := f.admitted(connectText(`,"simulcast":true,"simulcast_encodings":[{"rid":"r0"}]`)); as.Encodings != nil {
		t.Error("a client chooses its encodings, which is the authority's")
	}
}

// FuzzDecided: whatever an authority answers, a client is admitted as something that the
// channel can serve, or not at all; and never as anybody but whom the answer names.
func FuzzDecided(f *testing.F) {
	for _, answer := range []string{
		`{"client_id":"alice","role":"sendonly","video":true,"video_bit_rate":5}`,
		`{"audio":{"opus_params":{"channels":1}}}`,
		`{"simulcast":true,"simulcast_encodings":[{"rid":"r0","scaleResolutionDownTo":{"maxWidth":1,"maxHeight":1}}]}`,
		`{"spotlight":true,"spotlight_number":8,"metadata":[1],"signaling_notify_metadata":1,"simulcast_rid":"none"}`,
		`{"video":7}`,
	} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var answer auth.Answer
		if json.Unmarshal(text, &answer) != nil {
			return
		}
		const more = `,"client_id":"mallory","simulcast":true,"video":{"codec_type":"VP8"}`
		message, err := Decode([]byte(connectText(more)))
		if err != nil {
			t.Fatal(err)
		}
		c, err := message.(Connect).decided(answer)
		if err != nil {
			return
		}
		if len(c.ClientID) > 255 || c.Role == forwardingv1.Role_ROLE_UNSPECIFIED || c.ChannelID != "sora" ||
			len(c.OfferMetadata) > maxMetadataLength || len(c.NotifyMetadata) > maxMetadataLength {
			t.Fatalf("%q: admitted as %+v", text, c)
		}
		var clientID string
		if json.Unmarshal(answer["client_id"], &clientID) == nil && clientID != "" && c.ClientID != clientID {
			t.Fatalf("%q: admitted as %q", text, c.ClientID)
		}
		if _, err := Encode(newOfferMessage(c, Offer{}, noICEServers)); err != nil {
			t.Fatalf("%q: the offer: %v", text, err)
		}
	})
}
