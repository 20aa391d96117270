package signaling

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const turnServer = `{"urls": "turn:192.0.2.1:3478", "username": "nagi", "credential": "secret"}`

func TestICEConfig(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"iceServers": [` + turnServer +
			`], "iceTransportPolicy": "relay"}`: `{"iceServers":[{"urls":["turn:192.0.2.1:3478"],` +
			`"username":"nagi","credential":"secret"}],"iceTransportPolicy":"relay"}`,
		`{"iceServers": [{"urls": ["stun:a.example", "stuns:a.example"]}]}`: `{"iceServers":[{"urls":["stun:a.example",` +
			`"stuns:a.example"]}]}`,
	} {
		if config, err := parseICEConfig([]byte(text)); err != nil || string(config) != want {
			t.Errorf("%s: %s, %v; want %s", text, config, err, want)
		}
	}
	for text, want := range map[string]string{
		``:                              "no RTCConfiguration in JSON",
		`[` + turnServer + `]`:          "no RTCConfiguration in JSON",
		`{"iceServers": [{"urls": 1}]}`: "no RTCConfiguration in JSON",
		`{"ice_servers": []}`:           `unknown field "ice_servers"`,
		`{}`:                            "0 iceServers: name 1 to 16",
		`{"iceServers": []}`:            "0 iceServers: name 1 to 16",
		`{"iceServers": [{}]}`:          "iceServers[0]: it has no urls",
		`{"iceServers": [` + turnServer +
			`, {"urls": "http://a.example"}]}`: `iceServers[1]: the URL "http://a.example" is none`,
		`{"iceServers": [{"urls": "turn:"}]}`:                                       "none of STUN or TURN",
		`{"iceServers": [{"urls": "turn:a.example", "username": "nagi"}]}`:          "give username and credential",
		`{"iceServers": [` + turnServer + `], "iceTransportPolicy": "none"}`:        `"none": write all or relay`,
		`{"iceServers": [` + turnServer + `]} {}`:                                   "something follows",
		`{"iceServers": [` + strings.Repeat(turnServer+",", 16) + turnServer + `]}`: "17 iceServers: name 1 to 16",
		strings.Repeat(" ", maxICEFile+1):                                           "longer than",
	} {
		_, err := parseICEConfig([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v; want %q", text, err, want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%.80s: the error tells the credential: %v", text, err)
		}
	}
}

// A file that changes is read again; one that cannot be read changes nothing, and is told of once.
func TestICEConfigIsReadAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ice.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		if _, err := OpenICEConfig(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("no file: %v", err)
		}
		write(`{"iceServers": [{"urls": "stun:a.example"}]}`)
		config, err := OpenICEConfig(path, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		expect := func(want string, told int) {
			t.Helper()
			time.Sleep(iceLooksAgain) // Of the bubble's clock.
			if got := string(config.current()); got != `{"iceServers":[{"urls":["`+want+`"]}]}` {
				t.Errorf("%s, want %s", got, want)
			}
			if got := strings.Count(log.String(), "\n"); got != told {
				t.Errorf("%d lines of log, want %d:\n%s", got, told, &log)
			}
		}
		expect("stun:a.example", 0)
		write(`{"iceServers": [{"urls": "stun:b.example"}]}`)
		expect("stun:b.example", 0)
		write(`{"iceServers": [{"urls": "stun"}]}`)
		expect("stun:b.example", 1)
		expect("stun:b.example", 1)
		write(`{"iceServers": [{"urls": "stun:c.example"}]}`)
		expect("stun:c.example", 2)
	})
	var none *ICEConfig
	if got := string(none.current()); got != `{"iceServers":[]}` {
		t.Errorf("without a file: %s", got)
	}
}
